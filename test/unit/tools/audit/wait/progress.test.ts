// When an audit may compare, what it says when it may not, and what it prints and takes as arguments.
import { describe, expect, it, vi } from 'vitest';
import { parseLsn } from '#schemas/lsn.ts';
import { parseAuditArguments } from '../../../../../tools/audit/arguments.ts';
import { createProgressLine } from '../../../../../tools/audit/progress-line.ts';
import { formatReport, formatWait } from '../../../../../tools/audit/report.ts';
import {
  explainDelay,
  findBehind,
  formatProgress,
  hasReaderPassed,
  type PartitionProgress,
} from '../../../../../tools/audit/wait/progress.ts';

const target = parseLsn('0/2000100');
const slot = { active: true, walStatus: 'reserved' };

describe('passing the snapshot', () => {
  it.each([
    [null, false],
    ['0/20000FF', false],
    ['0/2000100', true],
    ['0/2000101', true],
  ])('takes a reader at %s: %s', (through, passed) => {
    const throughLsn = through === null ? null : parseLsn(through);
    expect(hasReaderPassed({ throughLsn, slot }, target)).toBe(passed);
  });

  it('takes every partition at its target, and none for one that never held a record', () => {
    const at = (nextOffset: bigint | null, target: bigint): PartitionProgress => ({
      partition: 0,
      nextOffset,
      earliest: 0n,
      target,
    });
    expect(findBehind([at(5n, 5n), at(6n, 5n), at(null, 0n)])).toEqual([]);
    expect(findBehind([at(4n, 5n), at(null, 1n)])).toHaveLength(2);
  });
});

describe('a delay', () => {
  const behind = { throughLsn: parseLsn('0/2000000'), slot };
  it.each([
    [
      'names the distance of a reader at work',
      behind,
      null,
      /through 0\/2000000, 256 bytes before .* 0\/2000100.*backlog/,
    ],
    ['names a missing slot', { ...behind, slot: null }, null, /slot s does not exist/],
    [
      'names a lost slot and its repair',
      { ...behind, slot: { active: false, walStatus: 'lost' } },
      null,
      /npm run adopt -- reader/,
    ],
    [
      'names a reader that is down',
      { ...behind, slot: { ...slot, active: false } },
      null,
      /nobody streams .* down, or has halted/,
    ],
    ['names a missing checkpoint', { throughLsn: null, slot }, null, /no checkpoint of s yet/],
  ])('%s', (_, reader, partitions, words) => {
    const [line, ...more] = explainDelay(target, 's', reader, partitions);
    expect(line).toMatch(words);
    expect(more).toEqual([]);
  });

  it.each([
    ['a sink that stands still', 3n, 0n, /partition 2 is at offset 3 of 9: no sink is running/],
    ['records that Kafka has lost', 3n, 5n, /begins at 5: the sinks have halted \(npm run adopt -- sink\)/],
    ['a partition that nobody has taken', null, 0n, /CONSUMER_GROUP/],
  ])('names %s', (_, nextOffset, earliest, words) => {
    const reader = { throughLsn: target, slot };
    const done = { partition: 1, nextOffset: 4n, earliest: 0n, target: 4n };
    const lines = explainDelay(target, 's', reader, [done, { partition: 2, nextOffset, earliest, target: 9n }]);
    expect(lines).toEqual([expect.stringMatching(words)]);
  });

  it('shows how far each side is', () => {
    expect(formatProgress(target, behind, null)).toBe('waiting for the reader: 0/2000000 of 0/2000100');
    const partitions = [
      { partition: 0, nextOffset: 4n, earliest: 0n, target: 9n },
      { partition: 1, nextOffset: 9n, earliest: 0n, target: 9n },
    ];
    expect(formatProgress(target, { throughLsn: target, slot }, partitions)).toBe(
      'waiting for the sinks: 1 of 2 partitions, 5 records to go',
    );
  });

  it('is shown on one line of a terminal, and now and then elsewhere', () => {
    const [terminal, log]: string[][] = [[], []];
    let nowMs = 0;
    const onTerminal = createProgressLine({ write: (text) => terminal!.push(text) }, true, () => nowMs);
    const inLog = createProgressLine({ write: (text) => log!.push(text) }, undefined, () => nowMs);
    for (const line of ['one', 'one', 'two', 'three']) {
      onTerminal.show(line);
      inLog.show(line);
    }
    nowMs = 6_000;
    inLog.show('four');
    onTerminal.end();
    expect(terminal!.map((text) => text.replace('\r\u001b[K', '<'))).toEqual(['<one', '<two', '<three', '<']);
    expect(log).toEqual(['one\n', 'four\n']);
  });
});

describe('the report', () => {
  const result = {
    orders: 10,
    agreeing: 7,
    missing: 1,
    phantom: 1,
    replaced: 0,
    newer: 2,
    differing: 1,
    kinds: new Map([['sku' as const, 1]]),
    strayRemovals: 0,
    examples: ['x: is not in the ledger'],
  };
  const report = {
    result,
    snapshotLsn: target,
    parked: { parked: 3, distinct: 2, discarded: 4, retried: 5 },
    halted: ['live[3] has halted'],
    replayBacklog: 4n,
    repairs: ['npm run replay -- --source tables'],
    leftOrders: 0,
    limit: 1,
  };

  it('shows counts by kind, the first differences, parked copies, what is on its way, and the repair', () => {
    const text = formatReport(report).join('\n');
    expect(text).toMatch(/^orders +10$/m);
    expect(text).toMatch(/^ {2}sku: 1$/m);
    expect(text).toMatch(/^parked events +3 {2}1 of them copies of another$/m);
    expect(text).toMatch(/^discarded +4 {2}parked events that an operator has discarded$/m);
    expect(text).toMatch(/^retried +5 /m);
    expect(text).toMatch(/^live\[3\] has halted$/m);
    expect(text).toContain('the first 1 of 3:\n  x: is not in the ledger');
    expect(text).toContain('4 records of the replay topic');
    expect(text).toContain('npm run replay -- --source tables');
    expect(text).toContain('Phantom orders were published');
  });

  it.each([
    ['left in a replaced table', { leftOrders: 2 }, {}],
    ['applied, and only in a replaced table', {}, { replaced: 1 }],
  ])('says that orders %s need the tables back, and never that a database was restored', (_, change, counts) => {
    const clean = { ...result, missing: 0, phantom: 0, differing: 0, kinds: new Map(), examples: [], ...counts };
    const text = formatReport({ ...report, result: clean, ...change }).join('\n');
    expect(text).toContain('The two databases differ.');
    expect(text).toContain('put the captured tables back');
    expect(text).not.toMatch(/restored|Phantom orders/);
  });

  it('says in one line that the databases agree', () => {
    const clean = { ...result, missing: 0, phantom: 0, differing: 0, kinds: new Map(), examples: [] };
    const parked = { parked: 0, distinct: 0, discarded: 0, retried: 0 };
    const lines = formatReport({ ...report, result: clean, parked, halted: [], replayBacklog: null });
    expect(lines.at(-1)).toBe('The two databases agree.');
    expect(lines.join()).not.toContain('replay');
  });
});

describe('an audit that does not compare', () => {
  it('names what has halted and does not advise to wait, and names the time where it waited', () => {
    expect(formatWait({ kind: 'passed' }, target, 60_000)).toEqual([]);
    const halted = formatWait({ kind: 'halted', why: ['live[3] has halted'] }, target, 60_000).join('\n');
    expect(halted).toContain('\n  live[3] has halted\n');
    expect(halted).not.toMatch(/60 s|--wait-seconds/);
    const late = formatWait({ kind: 'late', why: ['the reader is down'] }, target, 60_000).join('\n');
    expect(late).toMatch(/within 60 s:\n {2}the reader is down\n.*--wait-seconds/);
  });
});

describe('the arguments', () => {
  it.each([
    [[], { waitMs: 60_000, limit: 20 }],
    [['--wait-seconds', '5', '--limit', '0'], { waitMs: 5_000, limit: 0 }],
    [['--no-wait', '--json'], { waitMs: 0, limit: 20, json: true }],
  ])('%j are %j', (argv, expected) => {
    expect(parseAuditArguments(argv)).toEqual({ json: false, ...expected });
  });

  it.each([
    ['--wait-seconds', '0'],
    ['--wait-seconds', 'soon'],
    ['--limit', '-1'],
    ['--limit', '1.5'],
    ['--since', 'x'],
    ['extra', ''],
  ])('refuses %s %s by name', (name, value) => {
    const written: string[] = [];
    const stderr = vi.spyOn(process.stderr, 'write').mockImplementation((text) => written.push(String(text)) > 0);
    try {
      expect(() => parseAuditArguments(value === '' ? [name] : [name, value])).toThrow();
    } finally {
      stderr.mockRestore();
    }
    expect(written.join('')).toContain(name === 'extra' ? 'too many arguments' : name);
  });
});
