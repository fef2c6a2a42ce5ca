// Which batches share a transaction, and which are tried apart: the others don't wait for those (I8).
import { describe, expect, it } from 'vitest';
import { EMPTY_TALLY, type ReplayStamp } from '#schemas/replay/records.ts';
import type { TogetherResult } from '../../../../cart-sink/apply/apply-batch.ts';
import type { Batch } from '../../../../cart-sink/apply/batch.ts';
import { createBatchJoiner } from '../../../../cart-sink/apply/join-batches.ts';
import { createEvent, createStamp } from '../../../support/examples/sink-events.ts';
import { waitFor } from '../../../support/wait.ts';

const { signal } = new AbortController();
const counts = { orders: 1, duplicates: 0, changed: 0, parked: 0 };
const applied = { kind: 'applied', ...counts } as const;
const locked = () => Object.assign(new Error('lock timeout'), { code: '55P03' });

function createBatch(
  partition: number,
  {
    records = 1,
    bytes = 100,
    replay = null,
    topic = replay === null ? 'live' : 'replay',
  }: { records?: number; bytes?: number; replay?: ReplayStamp | null; topic?: string } = {},
): Batch {
  return {
    consumerGroup: 'group',
    topic,
    partition,
    ownerEpoch: 1n,
    expectedOffset: 0n,
    nextOffset: BigInt(records),
    entries: Array.from({ length: records }, (_, offset) => ({
      kind: 'order',
      offset: BigInt(offset),
      event: createEvent(),
    })),
    replay,
    tally: EMPTY_TALLY,
    bytes,
  };
}

/** `answer` is that of a transaction of these partitions; an error is thrown. */
function createStage(
  options: { concurrency?: number; answer?: (partitions: string) => Error | undefined | Promise<undefined> } = {},
) {
  const calls: string[] = [];
  const apply = createBatchJoiner({
    io: {
      applyTogether: async (batches): Promise<TogetherResult> => {
        const partitions = batches.map(({ partition }) => partition).join();
        calls.push(partitions);
        const error = await options.answer?.(partitions);
        if (error !== undefined) throw error;
        return { kind: 'applied', counts: batches.map(() => counts) };
      },
      readStored: async () => undefined,
    },
    report: { onRetry: () => undefined, onRecovered: () => undefined },
    limits: { maxRecords: 10, maxBytes: 1_000 },
    concurrency: options.concurrency ?? 2,
  });
  const applyAll = (...batches: Batch[]) => Promise.all(batches.map((batch) => apply(batch, signal)));
  return { apply, applyAll, calls };
}

describe('batches that are offered together', () => {
  it('share a transaction', async () => {
    const { applyAll, calls } = createStage();
    expect(await applyAll(createBatch(0), createBatch(3), createBatch(1))).toEqual([applied, applied, applied]);
    expect(calls).toEqual(['0,3,1']);
  });

  it('share none with what was offered while it was in flight, which makes the next', async () => {
    const first = Promise.withResolvers<undefined>();
    const { apply, applyAll, calls } = createStage({
      concurrency: 1,
      answer: (partitions) => (partitions === '0' ? first.promise : undefined),
    });
    const one = apply(createBatch(0), signal);
    await waitFor('the first transaction', () => calls.length === 1);
    const others = applyAll(createBatch(1), createBatch(2));
    first.resolve(undefined);
    await Promise.all([one, others]);
    expect(calls).toEqual(['0', '1,2']);
  });

  it('share one within the limits of records and of bytes only, and a larger one is alone', async () => {
    const { applyAll, calls } = createStage();
    await applyAll(createBatch(0, { records: 6 }), createBatch(1, { records: 4 }), createBatch(2));
    await applyAll(createBatch(3, { bytes: 600 }), createBatch(4, { bytes: 500 }), createBatch(5, { bytes: 2_000 }));
    expect(calls).toEqual(['0,1', '2', '3', '4', '5']);
  });

  it('share none with another topic, another replay run, or another assignment', async () => {
    const [run, other] = [createStamp(), createStamp()];
    const { apply, applyAll, calls } = createStage();
    await applyAll(createBatch(0), createBatch(1, { replay: run }), createBatch(2, { replay: run }));
    await applyAll(createBatch(3, { replay: run }), createBatch(4, { replay: other }));
    await applyAll(createBatch(7), createBatch(8, { topic: 'replay' })); // of no run: cancelled, or not the tool's
    await Promise.all([apply(createBatch(5), signal), apply(createBatch(6), new AbortController().signal)]);
    expect(calls).toEqual(['0', '1,2', '3', '4', '7', '8', '5', '6']);
  });
});

describe('a common transaction that fails', () => {
  it('is followed by each batch alone, and the guilty partition stays apart until one has passed', async () => {
    let isLocked = true;
    const { applyAll, apply, calls } = createStage({
      answer: (partitions) => (isLocked && partitions.includes('1') ? locked() : undefined),
    });
    const [zero, one, two] = [createBatch(0), createBatch(1), createBatch(2)].map((batch) => apply(batch, signal));
    expect(await Promise.all([zero, two])).toEqual([applied, applied]);
    expect(calls.slice(0, 4)).toEqual(['0,1,2', '0', '1', '2']);
    // The others are together again meanwhile.
    await applyAll(createBatch(0), createBatch(2));
    expect(calls.at(-1)).toBe('0,2');
    isLocked = false;
    expect(await one).toEqual(applied);
    await applyAll(createBatch(0), createBatch(1));
    expect(calls.at(-1)).toBe('0,1');
  });

  it('tries a smaller batch of the guilty partition apart as well', async () => {
    const isDefect = () => Object.assign(new Error('syntax'), { code: '42601' });
    const { apply, calls } = createStage({ answer: isDefect });
    expect(await apply(createBatch(0, { records: 2 }), signal)).toEqual({ kind: 'too-large' });
    await expect(apply(createBatch(0), signal)).rejects.toMatchObject({ code: 'SINK_DEFECT' });
    expect(calls).toEqual(['0', '0', '0']); // in common, and each alone
  });

  it('lets no try alone keep the common transactions from their connections', async () => {
    const stuck = Promise.withResolvers<undefined>();
    const { apply, applyAll, calls } = createStage({
      answer: (partitions) => {
        if (partitions.includes('9,')) return locked();
        return /^[789]$/.test(partitions) ? stuck.promise : undefined;
      },
    });
    const guilty = [createBatch(9), createBatch(8), createBatch(7)].map((batch) => apply(batch, signal));
    await waitFor('the tries', () => calls.length === 3);
    expect(await applyAll(createBatch(0), createBatch(1))).toEqual([applied, applied]);
    stuck.resolve(undefined);
    await Promise.all(guilty);
    expect(calls).toEqual(['9,8,7', '9', '8', '0,1', '7']);
  });
});
