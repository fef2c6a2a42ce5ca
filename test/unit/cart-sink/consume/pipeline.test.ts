// One owned partition: which fetches are applied and how, and what ends it (I8, I11).
import { describe, expect, it } from 'vitest';
import { BatchUnreadableError } from '#kafka/protocol/batch-errors.ts';
import type { FetchedBatch } from '#kafka/reading/fetched-batch.ts';
import { EMPTY_TALLY, formatReplayHeaders, type ReplayStamp } from '#schemas/replay/records.ts';
import type { HaltError } from '#service/halt.ts';
import type { Batch } from '../../../../cart-sink/apply/batch.ts';
import type { RetriedResult } from '../../../../cart-sink/apply/retry.ts';
import { OwnedPartition, type PartitionEnd } from '../../../../cart-sink/consume/owned-partition.ts';
import { consumeFetch } from '../../../../cart-sink/consume/pipeline.ts';
import {
  type AdmitReplay,
  createReplayAdmission,
  type RunState,
} from '../../../../cart-sink/consume/replay-admission.ts';
import type { StoredOffset } from '../../../../cart-sink/sql/consumer-offsets.ts';
import { encodeOrderPlaced } from '../../../support/examples/encode-order-placed.ts';
import { createEvent, createStamp } from '../../../support/examples/sink-events.ts';
import { waitFor } from '../../../support/wait.ts';

const signal = new AbortController().signal;

function record(offset: number, value: Buffer | null = encodeOrderPlaced(createEvent())) {
  return { offset: BigInt(offset), key: Buffer.from('user-1'), value, headers: {} };
}

function fetched(first: number, last: number, offsets: readonly number[]) {
  return { firstOffset: BigInt(first), lastOffset: BigInt(last), records: offsets.map((offset) => record(offset)) };
}

function createStage(
  options: {
    nextOffset?: bigint;
    /** What the carts database holds, where another owner has gone on. */
    stored?: StoredOffset;
    maxRecords?: number;
    answer?: (batch: Batch) => RetriedResult | Promise<RetriedResult>;
    admitReplay?: AdmitReplay;
    /** Whether the log before a position is the one that was applied. */
    isApplied?: (position: bigint) => boolean;
  } = {},
) {
  const batches: Batch[] = [];
  const ends: PartitionEnd[] = [];
  const paused: string[] = [];
  const halts: HaltError[] = [];
  const partition: OwnedPartition = new OwnedPartition({
    ownership: {
      topic: 'live',
      partition: 1,
      ownerEpoch: 3n,
      nextOffset: options.nextOffset ?? 0n,
      lastCommitLsn: '0/AB',
      topicId: null,
    },
    consumerGroup: 'group',
    admitReplay: options.admitReplay,
    limits: { maxRecords: options.maxRecords ?? 100, maxBytes: 1_000_000 },
    apply: async (batch) => {
      batches.push(batch);
      const orders = batch.entries.length;
      return (await options.answer?.(batch)) ?? { kind: 'applied', orders, duplicates: 0, changed: 0, parked: 0 };
    },
    readStored: async () => options.stored ?? { ownerEpoch: 3n, nextOffset: partition.position() },
    findUnapplied: async (position) =>
      (options.isApplied ?? (() => true))(position) ? null : { offset: position - 2n, orderId: 'another' },
    onApplied: () => undefined,
    onPaused: ({ runId }) => paused.push(runId),
    onHalted: (error) => halts.push(error),
    onEnd: (end) => ends.push(end),
  });
  const consume = (fetch: Omit<FetchedBatch, 'topic' | 'partition'>, until = signal) => {
    const batch = { topic: 'live', partition: 1, ...fetch };
    return partition.inSequence(() => consumeFetch(partition, batch, until), until);
  };
  const ranges = () => batches.map(({ expectedOffset, nextOffset }) => [Number(expectedOffset), Number(nextOffset)]);
  return { partition, consume, batches, ends, halts, paused, ranges };
}

describe('a partition', () => {
  it('applies fetches one after the other, each on top of the last, control records included', async () => {
    const { consume, ranges, partition } = createStage();
    await Promise.all([consume(fetched(0, 3, [0, 1, 2])), consume(fetched(4, 6, [4, 5]))]);
    expect(ranges()).toEqual([
      [0, 4],
      [4, 7],
    ]);
    expect(partition.position()).toBe(7n);
  });

  it('never has two batches in flight', async () => {
    let inFlight = 0;
    const answer = async (): Promise<RetriedResult> => {
      inFlight += 1;
      expect(inFlight).toBe(1);
      await new Promise((resolve) => setTimeout(resolve, 5));
      inFlight -= 1;
      return { kind: 'applied', orders: 1, duplicates: 0, changed: 0, parked: 0 };
    };
    const { consume, batches } = createStage({ answer, maxRecords: 1 });
    await Promise.all([consume(fetched(0, 2, [0, 1, 2])), consume(fetched(3, 4, [3, 4]))]);
    expect(batches).toHaveLength(5);
  });

  it('cuts a fetch into chunks that leave no offset out', async () => {
    const { consume, ranges } = createStage({ maxRecords: 2 });
    await consume(fetched(0, 9, [0, 3, 4, 5, 8]));
    expect(ranges()).toEqual([
      [0, 4],
      [4, 6],
      [6, 10],
    ]);
  });

  it('stores the progress of a fetch with control and aborted records only', async () => {
    const { consume, ranges, batches } = createStage();
    await consume(fetched(0, 5, []));
    expect(ranges()).toEqual([[0, 6]]);
    expect(batches[0]).toMatchObject({ entries: [], replay: null, ownerEpoch: 3n });
  });

  it('applies what precedes a batch that can not be read, then halts', async () => {
    const unreadable = new BatchUnreadableError({ topic: 'live', partition: 1, baseOffset: 3n }, 'no checksum fits');
    const { consume, ranges, halts } = createStage();
    await consume({ ...fetched(0, 1, [0, 1]), unreadable });
    expect(ranges()).toEqual([[0, 2]]);
    expect(halts).toEqual([unreadable]);
    // Nothing precedes it.
    const next = createStage({ nextOffset: 2n });
    await next.consume({ firstOffset: 2n, lastOffset: 1n, records: [], unreadable });
    expect(next.batches).toEqual([]);
    expect(next.halts).toEqual([unreadable]);
  });

  it('hands on what it can read and what it can not, in sequence', async () => {
    const { consume, batches } = createStage();
    await consume({
      firstOffset: 0n,
      lastOffset: 2n,
      records: [record(0), record(1), record(2, Buffer.from('garbage'))],
    });
    expect(batches[0]!.entries.map(({ kind }) => kind)).toEqual(['order', 'order', 'unreadable']);
  });

  it('halves its batches at a time limit, and grows back', async () => {
    let limit = 2;
    const answer = (batch: Batch): RetriedResult =>
      batch.entries.length > limit
        ? { kind: 'too-large' }
        : { kind: 'applied', orders: batch.entries.length, duplicates: 0, changed: 0, parked: 0 };
    const { consume, batches, partition } = createStage({ answer, maxRecords: 8 });
    await consume(fetched(0, 7, [0, 1, 2, 3, 4, 5, 6, 7]));
    expect(partition.position()).toBe(8n);
    limit = 8;
    await consume(
      fetched(
        8,
        31,
        Array.from({ length: 24 }, (_, index) => 8 + index),
      ),
    );
    expect(partition.position()).toBe(32n);
    expect(batches.at(-1)!.entries.length + batches.at(-2)!.entries.length).toBeGreaterThan(8);
  });
});

describe('a fetch that asked for another offset than the expected one', () => {
  it('halts when it lies below: its records would be applied twice', async () => {
    const { consume, ends, batches } = createStage({ nextOffset: 10n });
    await consume(fetched(0, 3, [0, 1, 2, 3]));
    expect(batches).toHaveLength(0);
    expect(ends).toMatchObject([
      { kind: 'halted', error: { code: 'OFFSET_WENT_BACK', details: { expectedOffset: '10', fetchedOffset: '0' } } },
    ]);
  });

  it('ends the session when it lies above: records between would be left out', async () => {
    const { consume, ends, batches } = createStage({ nextOffset: 10n });
    await consume(fetched(14, 15, [14, 15]));
    await consume(fetched(10, 11, [10, 11]));
    expect(batches).toHaveLength(0);
    expect(ends).toMatchObject([{ kind: 'failed' }]);
  });

  it.each([
    ['above', 15],
    ['below', 0],
  ])('does not halt a sink that was succeeded meanwhile: %s', async (_, first) => {
    for (const stored of [
      { ownerEpoch: 4n, nextOffset: 10n },
      { ownerEpoch: 3n, nextOffset: 15n },
    ]) {
      const { consume, ends, batches } = createStage({ nextOffset: 10n, stored });
      await consume(fetched(first, first, [first]));
      expect(ends).toEqual([{ kind: 'stale-owner', topic: 'live', partition: 1 }]);
      expect(batches).toEqual([]);
    }
  });

  it('closes the partition by halting: later fetches are not applied either', async () => {
    const { consume, ends, batches } = createStage({ nextOffset: 10n });
    await consume(fetched(0, 3, [0]));
    await consume(fetched(10, 11, [10, 11]));
    expect(batches).toHaveLength(0);
    expect(ends).toHaveLength(1);
  });
});

describe('the log before the position', () => {
  it('halts when the log before its position is another one, at the first fetch and under a new leader epoch', async () => {
    const code = 'OFFSET_WENT_BACK';
    const first = createStage({ nextOffset: 10n, isApplied: () => false });
    await first.consume({ ...fetched(10, 11, [10, 11]), leaderEpochs: { first: 4, last: 4 } });
    expect(first.batches).toHaveLength(0);
    expect(first.ends).toMatchObject([
      { kind: 'halted', error: { code, details: { expectedOffset: '10', fetchedOffset: '8', orderId: 'another' } } },
    ]);

    const checked: bigint[] = [];
    const later = createStage({
      nextOffset: 10n,
      isApplied: (position) => {
        checked.push(position);
        return position !== 14n;
      },
    });
    await later.consume({ ...fetched(10, 11, [10, 11]), leaderEpochs: { first: 4, last: 5 } });
    await later.consume({ ...fetched(12, 13, [12, 13]), leaderEpochs: { first: 5, last: 5 } });
    await later.consume({ ...fetched(14, 15, [14, 15]), leaderEpochs: { first: 6, last: 6 } });
    expect(checked).toEqual([10n, 14n]);
    expect(later.batches).toHaveLength(2);
    expect(later.ends).toMatchObject([{ kind: 'halted', error: { code } }]);
  });

  it('has ended as fenced, and does not halt, when the log is another one and another sink owns it', async () => {
    const stored: StoredOffset = { ownerEpoch: 4n, nextOffset: 20n };
    const { consume, ends } = createStage({ nextOffset: 10n, isApplied: () => false, stored });
    await consume({ ...fetched(10, 11, [10, 11]), leaderEpochs: { first: 4, last: 4 } });
    expect(ends).toMatchObject([{ kind: 'stale-owner' }]);
  });
});

describe('the end of a partition', () => {
  it('comes with another owner, once, and nothing follows', async () => {
    const { consume, ends, batches } = createStage({ answer: () => ({ kind: 'stale-owner' }), maxRecords: 1 });
    await consume(fetched(0, 2, [0, 1, 2]));
    await consume(fetched(3, 3, [3]));
    expect(ends).toEqual([{ kind: 'stale-owner', topic: 'live', partition: 1 }]);
    expect(batches).toHaveLength(1);
  });

  it('does not come at a record of an unknown schema: the partition halts there, what precedes it is applied', async () => {
    const unknown = encodeOrderPlaced(createEvent());
    unknown[4] = unknown[4]! ^ 0xff;
    const { consume, ends, halts, ranges, partition } = createStage({ maxRecords: 2 });
    const records = [record(0), record(1), record(2), record(3, unknown), record(4)];
    await consume({ firstOffset: 0n, lastOffset: 4n, records });
    await consume(fetched(5, 5, [5]));
    expect(ranges()).toEqual([
      [0, 2],
      [2, 3],
    ]);
    expect(halts).toMatchObject([{ code: 'UNKNOWN_SCHEMA', details: { offset: '3' } }]);
    expect(partition.position()).toBe(3n);
    expect(ends).toEqual([]);
  });

  it('does not come from an interruption: the same records are applied later', async () => {
    let interrupted = true;
    const answer = (batch: Batch): RetriedResult =>
      interrupted
        ? { kind: 'interrupted' }
        : { kind: 'applied', orders: batch.entries.length, duplicates: 0, changed: 0, parked: 0 };
    const { consume, ends, partition } = createStage({ answer });
    await consume(fetched(0, 2, [0, 1, 2]));
    expect(partition.position()).toBe(0n);
    interrupted = false;
    await consume(fetched(0, 2, [0, 1, 2]));
    expect(partition.position()).toBe(3n);
    expect(ends).toEqual([]);
  });

  it('is not needed for a fetch that was aborted: it is not begun', async () => {
    const { consume, batches } = createStage();
    await consume(fetched(0, 2, [0, 1, 2]), AbortSignal.abort());
    expect(batches).toHaveLength(0);
  });
});

describe('a partition of the replay topic', () => {
  const [mine, foreign, cancelled] = [
    createStamp(),
    createStamp({ ruleVersion: 99 }),
    createStamp({ ruleVersion: 99 }),
  ];
  const { runId: cancelledRun } = cancelled;
  /** One record a stamp, at offsets from 0 on; null: not the tool's. */
  const replayed = (...stamps: readonly (ReplayStamp | null)[]) => ({
    firstOffset: 0n,
    lastOffset: BigInt(stamps.length),
    records: stamps.map((stamp, offset) => ({
      ...record(offset),
      headers: Object.fromEntries(
        Object.entries(stamp === null ? {} : formatReplayHeaders(stamp, 'order')).map(([name, text]) => [
          name,
          Buffer.from(text),
        ]),
      ),
    })),
  });
  const stored = (state: string, is_passed_over = false) => ({ state, is_passed_over });
  const storedRuns = async (runId: string): Promise<RunState | undefined> =>
    stored(runId === cancelledRun ? 'cancelled' : 'publishing');
  const createReplayStage = (findRun = storedRuns) => {
    const asked: string[] = [];
    const admitReplay = createReplayAdmission(mine.ruleVersion, (runId) => {
      asked.push(runId);
      return findRun(runId);
    });
    return { ...createStage({ admitReplay }), asked };
  };

  it('gives each run a batch of its own, with its sum', async () => {
    const { consume, batches, ranges, asked } = createReplayStage();
    const other = createStamp({ mode: 'reapply' });
    await consume(replayed(mine, mine, other, null));
    expect(ranges()).toEqual([
      [0, 2],
      [2, 3],
      [3, 5],
    ]);
    expect(batches.map(({ replay, tally }) => [replay, tally.count])).toEqual([
      [mine, 2n],
      [other, 1n],
      [null, 0n],
    ]);
    expect(batches[2]!.entries).toMatchObject([{ kind: 'unreadable' }]);
    expect(asked).toEqual([mine.runId, other.runId]);
  });

  it('is paused at a run that the carts database does not know, until it is passed over', async () => {
    let run: RunState | undefined;
    const { partition, consume, batches, ranges, paused, ends } = createReplayStage(async (id) =>
      id === mine.runId ? run : storedRuns(id),
    );
    const other = createStamp({ mode: 'reapply' });
    const fetch = replayed(mine, mine, other);
    await consume(fetch);
    expect(batches).toEqual([]);
    expect(paused).toEqual([mine.runId]);
    expect(partition.pausedAt()).toEqual({ ...mine, why: 'unknown-run' });
    run = stored('cancelled', true);
    partition.resume();
    await consume(fetch);
    expect(ranges()).toEqual([
      [0, 2],
      [2, 4],
    ]);
    expect(batches[0]).toMatchObject({ entries: [], replay: null, tally: EMPTY_TALLY });
    expect(batches[1]).toMatchObject({ replay: other });
    expect(ends).toEqual([]);
  });

  it('applies what was published of a cancelled run of its own rule', async () => {
    const { consume, batches } = createReplayStage(async () => stored('cancelled'));
    await consume(replayed(mine));
    expect(batches[0]).toMatchObject({ replay: mine });
  });

  it('is paused at a run with another version of the rule, until it is resumed and the run cancelled', async () => {
    let isCancelled = false;
    const { partition, consume, batches, ranges, paused, ends } = createReplayStage(async () =>
      stored(isCancelled ? 'cancelled' : 'publishing'),
    );
    const fetch = replayed(mine, foreign, foreign, mine);
    const rest = { ...fetch, firstOffset: 1n, records: fetch.records.slice(1) };
    await consume(fetch);
    expect(ranges()).toEqual([[0, 1]]);
    expect(paused).toEqual([foreign.runId]);
    expect(partition.pausedAt()).toEqual({ ...foreign, why: 'other-rule' });

    await consume(rest);
    expect(batches).toHaveLength(1);
    partition.resume();
    await consume(rest);
    expect(paused).toEqual([foreign.runId, foreign.runId]);
    expect(batches).toHaveLength(1);

    isCancelled = true;
    partition.resume();
    await consume(rest);
    expect(ranges()).toEqual([
      [0, 1],
      [1, 3],
      [3, 5],
    ]);
    expect(batches[1]).toMatchObject({ entries: [], replay: null, tally: EMPTY_TALLY });
    expect(partition.pausedAt()).toBeUndefined();
    expect(ends).toEqual([]);
  });

  it('is paused before an event of an unknown schema is parsed: the newer program may know it', async () => {
    const { consume, paused, ends } = createReplayStage();
    const fetch = replayed(foreign);
    fetch.records[0]!.value![4]! ^= 0xff;
    await consume(fetch);
    expect(paused).toEqual([foreign.runId]);
    expect(ends).toEqual([]);
  });

  it('asks about the run of each batch: a restore may take away what was known', async () => {
    const { partition, consume, asked } = createReplayStage();
    await consume(replayed(cancelled, null, cancelled, foreign));
    partition.resume();
    await consume({
      ...replayed(),
      firstOffset: 3n,
      lastOffset: 4n,
      records: replayed(null, null, null, foreign).records.slice(3),
    });
    expect(asked).toEqual([cancelled.runId, cancelled.runId, foreign.runId, foreign.runId]);
  });

  it('takes nothing, and does not end, when it is aborted while it asks', async () => {
    const abort = new AbortController();
    const asking = Promise.withResolvers<RunState>();
    const { consume, ends, batches, asked } = createReplayStage(() => asking.promise);
    const consuming = consume(replayed(foreign), abort.signal);
    await waitFor('the question', () => asked.length === 1);
    abort.abort();
    asking.reject(new Error('aborted'));
    await consuming;
    expect(ends).toEqual([]);
    expect(batches).toEqual([]);
  });
});
