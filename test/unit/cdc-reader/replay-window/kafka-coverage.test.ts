// From where on the live topic can be replayed: as tables, since every mistake here is an order that a replay leaves out.
import { describe, expect, it } from 'vitest';
import type { LogRecord } from '#kafka/reading/log.ts';
import { type Lsn, toLsn } from '#schemas/lsn.ts';
import {
  coversRange,
  findCoveredRanges,
  findOldestCovered,
  type PartitionHead,
} from '../../../../cdc-reader/replay-window/kafka-coverage.ts';
import { readKafkaCoverage } from '../../../../cdc-reader/startup/live-topic.ts';
import { encodeOrderPlaced } from '../../../support/examples/encode-order-placed.ts';
import { createEvent } from '../../../support/examples/order-placed-events.ts';

const at = (value: number): Lsn => toLsn(BigInt(value));
const range = (from: number, to: number) => ({ fromLsn: at(from), toLsn: at(to) });
const checkpoint = { partitions: 2, nextOffsets: [10n, 20n], throughLsn: at(1_000) };

describe('the oldest position that the live topic covers', () => {
  const head = (partition: number, earliest: number, end: number, first: number | null = null): PartitionHead => ({
    partition,
    earliest: BigInt(earliest),
    end: BigInt(end),
    firstCommitLsn: first === null ? null : at(first),
  });

  it.each([
    ['is the beginning of the generation while nothing was cut', [head(0, 0, 11), head(1, 0, 21)], 0],
    ['is so for partitions that nothing was ever written to', [head(0, 0, 10), head(1, 0, 20)], 0],
    ['lies behind the first transaction that is left, which may be cut', [head(0, 5, 11, 300), head(1, 0, 21)], 301],
    ['is the worst of the partitions', [head(0, 5, 11, 300), head(1, 5, 21, 500)], 501],
    ['is where publishing stands when a partition was cut to nothing', [head(0, 11, 11), head(1, 0, 21)], 1_000],
    ['does not depend on partitions that are not in use', [head(0, 0, 11), head(1, 0, 21), head(2, 9, 9)], 0],
    ['does not exist when a partition is missing', [head(0, 0, 11)], null],
    ['does not exist when a partition is shorter than it was: recreated', [head(0, 0, 11), head(1, 0, 19)], null],
  ])('%s', (_, heads, oldest) => {
    expect(findOldestCovered(checkpoint, heads)).toBe(oldest === null ? null : at(oldest));
  });

  it('is read from the first record of what was cut, and of nothing else', async () => {
    const reads: unknown[] = [];
    const record = (commitLsn: number) =>
      ({ offset: 7n, value: encodeOrderPlaced(createEvent({ commitLsn: at(commitLsn) })) }) as LogRecord;
    const log = {
      readOffsets: async () =>
        new Map([
          [0, { earliest: 0n, lastStable: 11n, highWatermark: 12n }],
          [1, { earliest: 7n, lastStable: 21n, highWatermark: 22n }],
          [2, { earliest: 7n, lastStable: 21n, highWatermark: 22n }],
        ]),
      async *readRecords(options: unknown) {
        reads.push(options);
        yield [record(400), record(500)];
        yield [record(600)];
      },
    };
    expect(await readKafkaCoverage(log, 'orders', checkpoint, 1_000)).toEqual({ oldestLsn: at(401) });
    expect(reads).toEqual([
      {
        topic: 'orders',
        partition: 1,
        fromOffset: 7n,
        untilOffset: 21n,
        isolation: 'read_committed',
        deadlineMs: 1_000,
      },
    ]);
  });
});

describe('a range', () => {
  const gaps = [range(200, 300)];

  it.each([
    ['from the oldest position on is covered', range(100, 200), true],
    ['that begins before it is not', range(99, 200), false],
    ['that ends inside a gap is not', range(100, 201), false],
    ['that begins inside a gap is not', range(299, 400), false],
    ['around a gap is not', range(100, 400), false],
    ['inside a gap is not', range(220, 230), false],
    ['that begins where a gap ends is covered', range(300, 400), true],
  ])('%s', (_, wanted, isCovered) => {
    expect(coversRange({ oldestLsn: at(100) }, gaps, wanted)).toBe(isCovered);
    expect(coversRange({ oldestLsn: null }, [], wanted)).toBe(false);
  });

  it.each([
    ['without gaps: one', 100, [], [range(100, 1_000)]],
    [
      'around gaps, in any order',
      100,
      [range(400, 500), range(200, 300)],
      [range(100, 200), range(300, 400), range(500, 1_000)],
    ],
    ['after a gap that begins with the log', 100, [range(0, 300)], [range(300, 1_000)]],
    ['with a gap that was cut by retention as well', 600, [range(200, 300)], [range(600, 1_000)]],
    [
      'with gaps that touch or overlap',
      100,
      [range(200, 300), range(300, 400), range(350, 380)],
      [range(100, 200), range(400, 1_000)],
    ],
    ['up to a gap that reaches the end', 100, [range(900, 1_000)], [range(100, 900)]],
    ['when a gap takes all of it: none', 100, [range(0, 1_000)], []],
    ['when nothing is left: none', 1_000, [], []],
    ['when nothing is sure: none', null, [], []],
  ])('list: %s', (_, oldest, gaps, expected) => {
    const coverage = { oldestLsn: oldest === null ? null : at(oldest) };
    const ranges = findCoveredRanges(coverage, { gaps, throughLsn: at(1_000) });
    expect(ranges).toEqual(expected);
    for (const one of ranges) expect(coversRange(coverage, gaps, one)).toBe(true);
  });
});
