// The proof of a replay, and everything that an operator reads, as tables of cases.
import { describe, expect, it } from 'vitest';
import { toLsn } from '#schemas/lsn.ts';
import type { ReplayPlan } from '#schemas/replay/plan.ts';
import { renderPlan, renderPreview, renderProof } from '../../../../../tools/replay/cli/render.ts';
import { formatStall } from '../../../../../tools/replay/progress/explain-stall.ts';
import {
  createProgressDisplay,
  formatDuration,
  formatProgressLine,
} from '../../../../../tools/replay/progress/progress-display.ts';
import type { RunResult } from '../../../../../tools/replay/run/run-records.ts';
import { compareSides, hasEnded, isHandled } from '../../../../../tools/replay/run/verdict.ts';

const tally = { count: 10n, checksum: 77n };
const agreeing: RunResult = {
  partition: 0,
  applied: 2n,
  already: 7n,
  changed: 1n,
  parked: 0n,
  checksum: 77n,
  end: tally,
  updatedAt: new Date(0),
};
const nothing: RunResult = {
  ...agreeing,
  partition: 1,
  applied: 0n,
  already: 0n,
  changed: 0n,
  checksum: 0n,
  end: { count: 0n, checksum: 0n },
};
const judge = (result: Partial<RunResult> | null, other: RunResult | null = nothing) => {
  const results = new Map<number, RunResult>();
  if (result !== null) results.set(0, { ...agreeing, ...result });
  if (other !== null) results.set(1, other);
  return compareSides(2, new Map([[0, tally]]), results);
};

describe('the proof', () => {
  it('agrees when every partition has the same count and checksum on both sides', () => {
    expect(judge({}).agrees).toBe(true);
    expect(judge({}).partitions.map(({ problem }) => problem)).toEqual([null, null]);
  });

  it.each<[string, Partial<RunResult> | null, RegExp]>([
    ['no sink has come', null, /no sink/],
    ['the end was not applied', { end: null }, /its end record has not been applied/],
    ['one order is missing', { already: 6n }, /10 published, 9 arrived/],
    ['one order came twice', { already: 8n }, /10 published, 11 arrived/],
    ['other orders arrived', { checksum: 78n }, /but other records/],
    ['the end says another count', { end: { count: 9n, checksum: 77n } }, /9 published by its end record/],
    ['the end says another checksum', { end: { count: 10n, checksum: 76n } }, /end record/],
    ['some were parked', { already: 6n, parked: 1n }, /1 could not be applied/],
  ])('disagrees when %s', (_, result, problem) => {
    const proof = judge(result);
    expect(proof.agrees).toBe(false);
    expect(proof.partitions[0]!.problem).toMatch(problem);
    expect(proof.partitions[1]!.problem).toBeNull();
  });

  it('disagrees when a partition without orders got some, or has no end', () => {
    expect(judge({}, { ...nothing, applied: 1n }).agrees).toBe(false);
    expect(judge({}, null).agrees).toBe(false);
  });

  it('is awaited in every partition, a pass only where it published', () => {
    const results = (...all: RunResult[]) => new Map(all.map((result) => [result.partition, result]));
    expect(hasEnded(2, results(agreeing, nothing))).toBe(true);
    expect(hasEnded(2, results(agreeing))).toBe(false);
    expect(hasEnded(2, results(agreeing, { ...nothing, end: null }))).toBe(false);
    expect(isHandled(new Map([[0, tally]]), results({ ...agreeing, end: null }))).toBe(true);
    expect(isHandled(new Map([[0, tally]]), results({ ...agreeing, applied: 1n }))).toBe(false);
    expect(isHandled(new Map([[0, tally]]), results(nothing))).toBe(false);
  });

  it('is shown as a table with both checksums and the verdict', () => {
    const lines = renderProof(judge({ already: 6n }));
    expect(lines[1]).toMatch(
      /partition +published +applied +already +changed +parked +checksum published +checksum arrived/,
    );
    expect(lines[2]).toMatch(/^ +0 +10 +2 +6 +1 +0 +000000000000004d +000000000000004d +10 published, 9 arrived$/);
    expect(lines[4]).toMatch(/all +10 +2 +6 +1 +0$/);
    expect(lines[5]).toMatch(/^Verdict: DISAGREED/);
    expect(renderProof(judge({})).at(-1)).toMatch(/^Verdict: agreed/);
  });
});

describe('the plan', () => {
  const plan: ReplayPlan = {
    runId: 'r',
    mode: 'reapply',
    ruleVersion: 4,
    users: [],
    orderIds: [],
    pass: { source: 'wal', range: { fromLsn: toLsn(16n), toLsn: toLsn(32n) } },
    appliedThroughLsn: toLsn(32n),
    isOpenEnded: true,
    why: 'the first that covers the range: of something',
    systemIdentifier: '7',
    database: 'orders',
    generation: 1,
    partitions: 2,
    ratePerSecond: 2_000,
    survey: {
      orders: 1_234,
      unknown: 4,
      changing: 30,
      skipped: 2,
      first: { position: '1:0/10:0', committedAt: 1_000_000n },
      last: { position: '1:0/1F:1', committedAt: 2_500_000n },
    },
  };

  it('says range, boundary, time, source and why, and what would change', () => {
    const text = renderPlan(plan).join('\n');
    expect(text).toMatch(/mode +reapply: recompute under rule 4/);
    expect(text).toMatch(/range +from 0\/10 to 0\/20 .*then once more/);
    expect(text).toMatch(/first order +1:0\/10:0, committed 1970-01-01T00:00:01Z/);
    expect(text).toMatch(/last order +1:0\/1F:1, committed 1970-01-01T00:00:02.500000Z/);
    expect(text).toMatch(/source +wal, the first that covers the range: of something/);
    expect(text).toMatch(/orders +1,234\n/);
    expect(text).toMatch(/4 that the ledger lacks would be applied, 30 would change, 1,200 stay as they are/);
    expect(text).toMatch(/skipped +2 records/);
    expect(text).toMatch(/rate +2,000 orders a second/);
  });

  it('of a repair says what is there already, of tables that there are no positions', () => {
    const repair: ReplayPlan = { ...plan, mode: 'repair', survey: { ...plan.survey, changing: null } };
    expect(renderPlan(repair).join('\n')).toMatch(/4 that the ledger lacks would be applied, 1,230 are there already/);
    expect(renderPlan(repair).join('\n')).not.toContain('once more');
    const tables = renderPlan({ ...repair, pass: { source: 'tables', range: null } }).join('\n');
    expect(tables).toContain('every order of the orders database');
    expect(tables).not.toContain('first order');
  });

  it('shows by order which cart lines would change by how much', () => {
    const changes = [
      { lineId: 'line-1', sku: 'A', quantity: -3 },
      { lineId: null, sku: 'B', quantity: 2 },
    ];
    expect(renderPreview({ orderId: 'o1', userId: 'u1', isNew: false, changes })).toEqual([
      '  order o1:',
      '    A -3 (line line-1)',
      '    B +2 (line new)',
    ]);
    expect(renderPreview({ orderId: 'o2', userId: 'u1', isNew: true, changes: [] })).toEqual([
      '  order o2, not in the ledger: no cart line changes',
    ]);
  });
});

describe('progress', () => {
  it.each([
    [
      { done: 4_000, total: 10_000, perSecond: 2_000, isBar: false },
      'publishing 40 % 4,000 of 10,000, 2,000/s, 3 s left',
    ],
    [{ done: 5, total: 10, perSecond: 0, isBar: true }, 'publishing [###############               ] 50 % 5 of 10'],
    [{ done: 10, total: 10, perSecond: 5, isBar: false }, 'publishing 100 % 10 of 10, 5/s'],
    [{ done: 12, total: 0, perSecond: 5, isBar: false }, 'publishing 12, 5/s'],
  ])('of %j reads %s', (at, line) => {
    expect(formatProgressLine({ what: 'publishing', ...at })).toBe(line);
  });

  it.each([
    [0.2, '1 s'],
    [59, '59 s'],
    [250, '4 min 10 s'],
    [7_500, '2 h 5 min'],
  ])('of %d seconds left says %s', (seconds, text) => {
    expect(formatDuration(seconds)).toBe(text);
  });

  it('is a bar that is written over on a terminal, and a line every few seconds elsewhere', () => {
    const show = (isTerminal: boolean) => {
      let text = '';
      let nowMs = 0;
      const display = createProgressDisplay({ write: (part) => (text += part) }, isTerminal, () => nowMs);
      for (; nowMs <= 6_000; nowMs += 50) display.show('publishing', nowMs / 10, 1_000);
      display.end();
      return text;
    };
    expect(show(false).split('\n')).toEqual([
      'publishing 0 % 0 of 1,000',
      'publishing 30 % 300 of 1,000, 100/s, 7 s left',
      'publishing 60 % 600 of 1,000, 100/s, 4 s left',
      '',
    ]);
    const shown = show(true).split('\r\u001b[K');
    expect(shown[1]).toMatch(/^publishing \[ +\] 0 % /);
    expect(shown.at(-1)).toMatch(/^publishing \[#+ +\] 60 % .*\n$/);
    expect(shown).toHaveLength(62);
  });
});

describe('a run that does not get on', () => {
  const names = { consumerGroup: 'cart-sink', replayTopic: 'replay', ruleVersion: 3, runId: 'r1' };
  const stand = { partition: 0, nextOffset: 5n, end: 9n, hasEnded: false };

  it('is explained by the partitions that wait, with what may be wrong and what to do', () => {
    const lines = formatStall([stand, { ...stand, partition: 1, hasEnded: true }], names).join('\n');
    expect(lines).toContain('0 (at 5 of 9)');
    expect(lines).not.toContain('1 (at');
    expect(lines).toContain('version 3');
    expect(lines).toContain('npm run replay -- cancel r1');
  });

  it('is explained by sinks that were never there', () => {
    const lines = formatStall([{ ...stand, nextOffset: null }], names).join('\n');
    expect(lines).toContain('no sink of CONSUMER_GROUP cart-sink was ever assigned');
    expect(lines).not.toContain('cancel');
  });
});
