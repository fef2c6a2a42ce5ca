// The plan for a halt of the sinks, partition by partition, and the arguments of both sides of adopt.
import { describe, expect, it, vi } from 'vitest';
import { toLsn } from '#schemas/lsn.ts';
import { parseAdoptArguments } from '../../../../../tools/adopt/arguments.ts';
import { formatSinkDone, formatSinkFacts } from '../../../../../tools/adopt/sink/adopt-sink.ts';
import {
  findScanStart,
  formatSinkRepairs,
  planMove,
  type SinkPartition,
} from '../../../../../tools/adopt/sink/plan-sink.ts';
import { createPositionScan, type ScanResult } from '../../../../../tools/adopt/sink/position-scan.ts';
import { createEvent } from '../../../../support/examples/order-placed-events.ts';

const position = (commitLsn: number, timeline = 1) => ({ timeline, commitLsn: toLsn(BigInt(commitLsn)), ordinal: 0 });

/** Events at the positions of `text`, from offset 10 on: `*` marks one that the ledger has, `g` generation 2. */
function scan(stored: number | null, text: string): ScanResult {
  const found = createPositionScan({ position: stored === null ? null : position(stored), generation: 1 });
  for (const [index, word] of text.split(' ').filter(Boolean).entries()) {
    const event = createEvent({ ...position(Number.parseInt(word, 10)), generation: word.includes('g') ? 2 : 1 });
    found.add({ offset: BigInt(10 + index), event, isApplied: word.includes('*') });
  }
  return found.result();
}

describe('scanning what is still to be applied', () => {
  it.each<[string, number | null, string, Partial<ScanResult>]>([
    ['finds nothing where nothing comes', 100, '', { code: null }],
    ['finds nothing where it continues', 100, '101 105 110', { code: null }],
    ['finds nothing where a copy of an applied order comes', 100, '50* 100* 101', { code: null }],
    ['lets everything come to a partition that applied nothing', null, '5 6', { code: null }],
    [
      'goes on with the first when only the stored position is in the way',
      100,
      '50 51',
      {
        code: 'POSITION_WENT_BACK',
        resumeOffset: null,
      },
    ],
    [
      'skips to where positions no longer go back',
      100,
      '101 50 51',
      {
        code: 'POSITION_WENT_BACK',
        resumeOffset: 11n,
        lowestSkipped: expect.objectContaining(position(101)),
      },
    ],
    [
      'skips to the last place where they go back',
      100,
      '60 50 101 40 41',
      {
        code: 'POSITION_WENT_BACK',
        resumeOffset: 13n,
        lowestSkipped: expect.objectContaining(position(50)),
      },
    ],
    ['accepts a generation that begins right away', 100, '5g 6g', { code: 'GENERATION_CHANGED', resumeOffset: null }],
    ['skips to a generation that begins later', 100, '101 5g 6g', { code: 'GENERATION_CHANGED', resumeOffset: 11n }],
  ])('%s', (_, stored, events, expected) => {
    expect(scan(stored, events)).toMatchObject(expected);
  });
});

const partition: SinkPartition = {
  topic: 'live',
  isLive: true,
  partition: 0,
  ownerEpoch: 4n,
  storedOffset: 10n,
  applied: { position: position(100), generation: 1 },
  earliest: 0n,
  highWatermark: 20n,
  storedTopicId: 'one',
  topicId: 'one',
  isLastApplied: true,
};
const NOTHING: ScanResult = { code: null, resumeOffset: null, lowestSkipped: null };
const move = (change: Partial<SinkPartition>, found: ScanResult = NOTHING) => {
  const one = { ...partition, ...change };
  return planMove(one, findScanStart(one), found);
};

describe('moving a partition', () => {
  it.each<[string, Partial<SinkPartition>, ScanResult, object | null]>([
    ['is not needed where sink and Kafka agree', {}, NOTHING, null],
    ['is not needed at the very end', { storedOffset: 20n }, NOTHING, null],
    [
      'goes to what Kafka still has',
      { earliest: 15n },
      NOTHING,
      {
        code: 'RECORDS_LOST',
        nextOffset: 15n,
        forgetPosition: false,
      },
    ],
    [
      'goes to the start of a topic that was created again, however long it is',
      { topicId: 'two', earliest: 15n },
      NOTHING,
      {
        code: 'TOPIC_RECREATED',
        nextOffset: 15n,
        forgetPosition: true,
      },
    ],
    ['is not needed where no id was stored yet', { storedTopicId: null }, NOTHING, null],
    [
      'goes to the start of a topic that is shorter',
      { storedOffset: 21n },
      NOTHING,
      {
        code: 'OFFSET_BEYOND_END',
        nextOffset: 0n,
        forgetPosition: true,
      },
    ],
    [
      'goes to the start of a topic that holds other orders',
      { isLastApplied: false },
      NOTHING,
      {
        code: 'OFFSET_WENT_BACK',
        nextOffset: 0n,
        forgetPosition: true,
      },
    ],
    [
      'stays, and forgets the position that is in the way',
      {},
      { ...NOTHING, code: 'POSITION_WENT_BACK' },
      {
        code: 'POSITION_WENT_BACK',
        nextOffset: 10n,
        forgetPosition: true,
      },
    ],
    [
      'skips what goes back',
      {},
      { code: 'POSITION_WENT_BACK', resumeOffset: 12n, lowestSkipped: position(50) },
      {
        nextOffset: 12n,
        replayFrom: position(50),
      },
    ],
    [
      'replays from what was applied where that is lower',
      {},
      {
        code: 'POSITION_WENT_BACK',
        resumeOffset: 12n,
        lowestSkipped: position(101),
      },
      { replayFrom: position(100) },
    ],
  ])('%s', (_, change, found, expected) => {
    if (expected === null) expect(move(change, found)).toBeNull();
    else expect(move(change, found)).toMatchObject(expected);
  });
});

describe('the command that closes the gap', () => {
  const lost = (change: Partial<SinkPartition> = {}) => move({ earliest: 15n, ...change })!;
  const tables = 'npm run replay -- --source tables';
  it.each([
    [
      'begins at the partition furthest back',
      [lost(), lost({ applied: { position: position(64), generation: 1 } })],
      ['npm run replay -- --from-lsn 1:0/40', tables],
    ],
    [
      'is from the tables where nothing was applied yet',
      [lost(), lost({ applied: { position: null, generation: null } })],
      [tables],
    ],
    ['is not needed where only a position was forgotten', [move({}, { ...NOTHING, code: 'POSITION_WENT_BACK' })!], []],
    ['is not needed for the replay topic', [lost({ isLive: false })], []],
  ])('%s', (_, moves, commands) => {
    expect(formatSinkRepairs(moves)).toEqual(commands);
  });

  it('is shown with every partition and what becomes of it', () => {
    const one = lost();
    const text = formatSinkFacts({ partitions: [one.partition, partition], moves: [one] }).join('\n');
    expect(text).toContain('live[0] next 10, Kafka has 15 to 20, last applied 1:0/64:0: RECORDS_LOST -> moves to 15');
    expect(formatSinkDone([one]).join('\n')).toContain('2. apply what was lost: npm run replay -- --from-lsn 1:0/64');
  });
});

describe('the arguments', () => {
  it.each([
    [['reader'], { side: 'reader', yes: false, force: false }],
    [['reader', '--yes', '--force'], { side: 'reader', yes: true, force: true }],
    [['reader', '--leave-orders', '7'], { side: 'reader', yes: false, force: false, leaveOrders: 7 }],
    [['reader', '--leave-orders', '0'], { side: 'reader', yes: false, force: false, leaveOrders: 0 }],
    [['sink', '--yes'], { side: 'sink', yes: true, park: undefined }],
    [['sink', '--json'], { side: 'sink', yes: false, park: undefined, json: true }],
    [
      ['sink', '--park', 'orders.placed[3]@1207'],
      {
        side: 'sink',
        yes: false,
        park: { place: { topic: 'orders.placed', partition: 3 }, offset: 1207n, readableOrder: false },
      },
    ],
    [
      ['sink', '--readable-order', '--park', 'a[0]@0'],
      { side: 'sink', yes: false, park: { place: { topic: 'a', partition: 0 }, offset: 0n, readableOrder: true } },
    ],
  ])('%s are understood', (argv, expected) => {
    expect(parseAdoptArguments(argv)).toEqual({ json: false, ...expected });
  });

  it.each([
    [[], 'Usage'],
    [['readers'], 'readers'],
    [['reader', 'now'], 'too many arguments'],
    [['sink', '--force'], '--force'],
    [['sink', '--leave-orders', '7'], '--leave-orders'],
    [['sink', '--readable-order'], '--readable-order'],
    [['sink', '--park', 'orders.placed[3]'], '--park'],
    [['sink', '--park', 'orders.placed@7'], '--park'],
    [['reader', '--park', 'a[0]@0'], '--park'],
    [['reader', '--leave-orders'], '--leave-orders'],
    [['reader', '--leave-orders', '-1'], '--leave-orders'],
    [['reader', '--leave-orders', 'all'], '--leave-orders'],
  ])('refuses %j by name', (argv, named) => {
    const written: string[] = [];
    const stderr = vi.spyOn(process.stderr, 'write').mockImplementation((text) => written.push(String(text)) > 0);
    try {
      expect(() => parseAdoptArguments(argv)).toThrow();
    } finally {
      stderr.mockRestore();
    }
    expect(written.join('')).toContain(named);
  });
});
