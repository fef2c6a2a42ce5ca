// What becomes of each batch of a common transaction: the fault of one is not the others' (I3, I8).
import { describe, expect, it } from 'vitest';
import { EMPTY_TALLY } from '#schemas/replay/records.ts';
import type { TogetherResult } from '../../../../cart-sink/apply/apply-batch.ts';
import type { Batch } from '../../../../cart-sink/apply/batch.ts';
import { applyInCommon } from '../../../../cart-sink/apply/common-transaction.ts';
import { CommitOutcomeUnknownError, GenerationChangedError } from '../../../../cart-sink/errors.ts';
import type { StoredOffset } from '../../../../cart-sink/sql/consumer-offsets.ts';
import { createEvent } from '../../../support/examples/sink-events.ts';

const createBatch = (partition: number): Batch => ({
  consumerGroup: 'group',
  topic: 'live',
  partition,
  ownerEpoch: 7n,
  expectedOffset: 10n,
  nextOffset: 12n,
  entries: [{ kind: 'order', offset: 10n, event: createEvent() }],
  replay: null,
  tally: EMPTY_TALLY,
  bytes: 100,
});
const batches = [createBatch(0), createBatch(1), createBatch(2)];
const counts = { orders: 1, duplicates: 0, changed: 0, parked: 0 };
const withCode = (code: string) => Object.assign(new Error('told'), { code });
const placesOf = (some: readonly Batch[]) => some.map(({ partition }) => partition).join();

/** Answers one transaction after the other; an error is thrown, and undefined applies all. `calls` lists what was called. */
function createDatabase(answers: (Error | { lost: number[] } | undefined)[], stored: StoredOffset[] = []) {
  const calls: string[] = [];
  const io = {
    applyTogether: async (some: readonly Batch[]): Promise<TogetherResult> => {
      calls.push(placesOf(some));
      const next = answers.shift();
      if (next instanceof Error) throw next;
      if (next === undefined) return { kind: 'applied', counts: some.map(() => counts) };
      return { kind: 'fenced', lost: some.filter(({ partition }) => next.lost.includes(partition)) };
    },
    readStored: async ({ partition }: { partition: number }) => {
      calls.push(`read ${partition}`);
      return stored[partition];
    },
  };
  const report = { onRetry: (reason: string) => void calls.push(reason), onRecovered: () => undefined };
  const run = async (signal = new AbortController().signal) => {
    const results = await applyInCommon(batches, io, report, signal);
    return batches.map((batch) => results.get(batch)!.kind);
  };
  return { calls, run };
}

describe('a common transaction', () => {
  it('applies all', async () => {
    const { calls, run } = createDatabase([]);
    expect(await run()).toEqual(['applied', 'applied', 'applied']);
    expect(calls).toEqual(['0,1,2']);
  });

  it('leaves out what another sink owns, and applies the rest', async () => {
    const { calls, run } = createDatabase([{ lost: [1] }]);
    expect(await run()).toEqual(['applied', 'stale-owner', 'applied']);
    expect(calls).toEqual(['0,1,2', '0,2']);
  });

  it.each(['57P01', '40P01', '40001', 'ECONNRESET'])('is tried again after %s, which concerns all', async (code) => {
    const { calls, run } = createDatabase([withCode(code)]);
    expect(await run()).toEqual(['applied', 'applied', 'applied']);
    expect(calls).toEqual(['0,1,2', code, '0,1,2']);
  });

  it.each(['55P03', '57014', '25P04', '53200', '42601', '23505', '28P01'])(
    'sends each apart after %s: it may be the fault of one',
    async (code) => {
      const { calls, run } = createDatabase([withCode(code)]);
      expect(await run()).toEqual(['apart', 'apart', 'apart']);
      expect(calls).toEqual(['0,1,2']);
    },
  );

  it('sends each apart at a halt, which only the guilty one then meets', async () => {
    const halt = new GenerationChangedError(batches[1]!, { applied: 1, found: 2 });
    expect(await createDatabase([halt]).run()).toEqual(['apart', 'apart', 'apart']);
  });

  it('is interrupted by an abort', async () => {
    const abort = new AbortController();
    const { run } = createDatabase([withCode('57P01')]);
    const running = run(abort.signal);
    abort.abort();
    expect(await running).toEqual(['interrupted', 'interrupted', 'interrupted']);
  });
});

describe('a COMMIT of several without an answer', () => {
  it('is decided for each partition by its own offset, and what was not applied is tried again', async () => {
    const unanswered = new CommitOutcomeUnknownError(batches, withCode('ECONNRESET'));
    const { calls, run } = createDatabase(
      [unanswered],
      [
        { ownerEpoch: 7n, nextOffset: 12n },
        { ownerEpoch: 8n, nextOffset: 12n },
        { ownerEpoch: 7n, nextOffset: 10n },
      ],
    );
    expect(await run()).toEqual(['applied', 'stale-owner', 'applied']);
    expect(calls).toEqual(['0,1,2', 'outcome-unknown', 'read 0', 'read 1', 'read 2', '2']);
  });

  it('stays unknown while the offsets can not be read: nothing goes apart', async () => {
    const unanswered = new CommitOutcomeUnknownError(batches, withCode('ECONNRESET'));
    let reads = 0;
    const abort = new AbortController();
    const stored = { ownerEpoch: 7n, nextOffset: 12n };
    const io = {
      applyTogether: async () => Promise.reject(unanswered),
      readStored: async () => {
        reads += 1;
        if (reads === 1) throw withCode('55P03');
        return stored;
      },
    };
    const report = { onRetry: () => undefined, onRecovered: () => undefined };
    const results = await applyInCommon(batches, io, report, abort.signal);
    expect([...results.values()].map(({ kind }) => kind)).toEqual(['applied', 'applied', 'applied']);
    expect(reads).toBe(4);
  });
});
