// Retries: what is transient, what becomes of batches whose COMMIT was not answered, and that the fault of one batch of a common
// transaction is not the others' (I3, I8).
import { describe, expect, it } from 'vitest';
import { EMPTY_TALLY } from '#schemas/replay/records.ts';
import type { TogetherResult } from '../../../../cart-sink/apply/apply-batch.ts';
import type { Batch } from '../../../../cart-sink/apply/batch.ts';
import { applyAlone, applyInCommon, findTransientReason } from '../../../../cart-sink/apply/retry.ts';
import {
  CommitOutcomeUnknownError,
  GenerationChangedError,
  RecordsLostError,
  SinkDefectError,
} from '../../../../cart-sink/errors.ts';
import type { StoredOffset } from '../../../../cart-sink/sql/consumer-offsets.ts';
import { createEvent } from '../../../support/examples/sink-events.ts';

const batch: Batch = {
  consumerGroup: 'group',
  topic: 'live',
  partition: 2,
  ownerEpoch: 7n,
  expectedOffset: 10n,
  nextOffset: 14n,
  entries: [
    { kind: 'order', offset: 10n, event: createEvent() },
    { kind: 'order', offset: 11n, event: createEvent() },
    { kind: 'unreadable', offset: 12n, key: null, value: null, reason: 'no value' },
  ],
  replay: null,
  tally: EMPTY_TALLY,
  bytes: 0,
};
const done = { orders: 2, duplicates: 0, changed: 0, parked: 1 };
const applied: TogetherResult = { kind: 'applied', counts: [done] };
const withCode = (code: string) => Object.assign(new Error('told'), { code });
const away = () => Object.assign(new Error('gone'), { code: '57P01' });
const unknown = () => new CommitOutcomeUnknownError([batch], away());

/** Answers one call after the other; an error is thrown. `calls` lists what was called. */
function createDatabaseOfOne(answers: { apply?: unknown[]; stored?: unknown[] }) {
  const calls: string[] = [];
  const answer = (name: 'apply' | 'stored') => async () => {
    calls.push(name);
    const next = answers[name]?.shift();
    if (next instanceof Error) throw next;
    return next as never;
  };
  const io = { applyTogether: answer('apply'), readStored: answer('stored') };
  const report = {
    onRetry: (reason: string) => void calls.push(`retry ${reason}`),
    onRecovered: () => void calls.push('recovered'),
  };
  const run = (one = batch, signal = new AbortController().signal) => applyAlone(one, io, report, signal);
  return { calls, run };
}

describe('a batch alone', () => {
  it('hands the answer on', async () => {
    const { run, calls } = createDatabaseOfOne({ apply: [applied] });
    expect(await run()).toEqual({ kind: 'applied', ...done });
    expect(calls).toEqual(['apply']);
  });

  it('retries after a transient error', async () => {
    const { run, calls } = createDatabaseOfOne({ apply: [away(), away(), applied] });
    expect(await run()).toEqual({ kind: 'applied', ...done });
    expect(calls).toEqual(['apply', 'retry 57P01', 'apply', 'retry 57P01', 'apply', 'recovered']);
  });

  it('reports another owner, and does not retry', async () => {
    const { run, calls } = createDatabaseOfOne({ apply: [{ kind: 'fenced', lost: [batch] }] });
    expect(await run()).toEqual({ kind: 'stale-owner' });
    expect(calls).toEqual(['apply']);
  });

  it('throws what waits for a person, so that the session ends and another sink takes over', async () => {
    const refused = Object.assign(new Error('refused'), { code: '28P01' });
    const { run, calls } = createDatabaseOfOne({ apply: [refused] });
    await expect(run()).rejects.toBe(refused);
    expect(calls).toEqual(['apply']);
  });

  it('asks for a smaller batch at a permanent error, until the one record that can not be applied is found', async () => {
    const defect = Object.assign(new Error('syntax'), { code: '42601' });
    const { run, calls } = createDatabaseOfOne({ apply: [defect] });
    expect(await run()).toEqual({ kind: 'too-large' });
    expect(calls).toEqual(['apply']);
  });

  it('halts at one record with a permanent error, and keeps its cause', async () => {
    const defect = Object.assign(new Error('syntax'), { code: '42601' });
    const { run, calls } = createDatabaseOfOne({ apply: [defect] });
    const error = await run({ ...batch, entries: batch.entries.slice(0, 1) }).catch((thrown) => thrown);
    expect(error).toBeInstanceOf(SinkDefectError);
    expect(error).toMatchObject({ code: 'SINK_DEFECT', cause: defect, details: { partition: '2', offset: '10' } });
    expect(calls).toEqual(['apply']);
  });

  it('lets a halt through as it is', async () => {
    const halt = new RecordsLostError({
      topic: 'live',
      partition: 2,
      expected: 10n,
      earliest: 12n,
      lastCommitLsn: null,
    });
    await expect(createDatabaseOfOne({ apply: [halt] }).run()).rejects.toBe(halt);
  });

  it('asks for a smaller batch when the time limit strikes, unless it is one record already', async () => {
    const slow = () => Object.assign(new Error('statement timeout'), { code: '57014' });
    expect(await createDatabaseOfOne({ apply: [slow()] }).run()).toEqual({ kind: 'too-large' });
    const single = { ...batch, entries: batch.entries.slice(0, 1) };
    expect(await createDatabaseOfOne({ apply: [slow(), applied] }).run(single)).toEqual({ kind: 'applied', ...done });
  });

  it('ends without another attempt when it is aborted', async () => {
    const abort = new AbortController();
    const { run, calls } = createDatabaseOfOne({ apply: [away(), applied] });
    const result = run(batch, abort.signal);
    setTimeout(() => abort.abort(), 10);
    expect(await result).toEqual({ kind: 'interrupted' });
    expect(calls).toEqual(['apply', 'retry 57P01']);
  });
});

describe('a COMMIT without an answer', () => {
  it('is looked up, and not repeated when it has happened', async () => {
    const { run, calls } = createDatabaseOfOne({ apply: [unknown()], stored: [{ ownerEpoch: 7n, nextOffset: 14n }] });
    expect(await run()).toEqual({ kind: 'applied', orders: 2, duplicates: 0, changed: 0, parked: 1 });
    expect(calls).toEqual(['apply', 'retry outcome-unknown', 'stored', 'recovered']);
  });

  it('is repeated when it has not happened', async () => {
    const stored = [{ ownerEpoch: 7n, nextOffset: 10n }];
    const { run, calls } = createDatabaseOfOne({ apply: [unknown(), applied], stored });
    expect(await run()).toEqual({ kind: 'applied', ...done });
    expect(calls).toEqual(['apply', 'retry outcome-unknown', 'stored', 'apply', 'recovered']);
  });

  it('stays unknown while the database is away', async () => {
    const stored = [away(), away(), { ownerEpoch: 7n, nextOffset: 14n }];
    const { run, calls } = createDatabaseOfOne({ apply: [unknown()], stored });
    expect(await run()).toMatchObject({ kind: 'applied' });
    expect(calls.filter((call) => call === 'apply')).toHaveLength(1);
    expect(calls.filter((call) => call === 'stored')).toHaveLength(3);
  });

  it.each([
    { name: 'another owner took over', stored: { ownerEpoch: 8n, nextOffset: 14n } },
    { name: 'another owner took over before it', stored: { ownerEpoch: 8n, nextOffset: 10n } },
    { name: 'the offset is elsewhere', stored: { ownerEpoch: 7n, nextOffset: 12n } },
    { name: 'the row is gone', stored: undefined },
  ])('has another owner when $name', async ({ stored }) => {
    const { run, calls } = createDatabaseOfOne({ apply: [unknown(), applied], stored: [stored] });
    expect(await run()).toEqual({ kind: 'stale-owner' });
    expect(calls.filter((call) => call === 'apply')).toHaveLength(1);
  });
});

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
const placesOf = (some: readonly Batch[]) => some.map(({ partition }) => partition).join();

/** Answers one transaction after the other; an error is thrown, and undefined applies all. `calls` lists what was called. */
function createDatabaseOfThree(answers: (Error | { lost: number[] } | undefined)[], stored: StoredOffset[] = []) {
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
    const { calls, run } = createDatabaseOfThree([]);
    expect(await run()).toEqual(['applied', 'applied', 'applied']);
    expect(calls).toEqual(['0,1,2']);
  });

  it('leaves out what another sink owns, and applies the rest', async () => {
    const { calls, run } = createDatabaseOfThree([{ lost: [1] }]);
    expect(await run()).toEqual(['applied', 'stale-owner', 'applied']);
    expect(calls).toEqual(['0,1,2', '0,2']);
  });

  it.each(['57P01', '40P01', '40001', 'ECONNRESET'])('is tried again after %s, which concerns all', async (code) => {
    const { calls, run } = createDatabaseOfThree([withCode(code)]);
    expect(await run()).toEqual(['applied', 'applied', 'applied']);
    expect(calls).toEqual(['0,1,2', code, '0,1,2']);
  });

  it.each(['55P03', '57014', '25P04', '53200', '42601', '23505', '28P01'])(
    'sends each apart after %s: it may be the fault of one',
    async (code) => {
      const { calls, run } = createDatabaseOfThree([withCode(code)]);
      expect(await run()).toEqual(['apart', 'apart', 'apart']);
      expect(calls).toEqual(['0,1,2']);
    },
  );

  it('sends each apart at a halt, which only the guilty one then meets', async () => {
    const halt = new GenerationChangedError(batches[1]!, { applied: 1, found: 2 });
    expect(await createDatabaseOfThree([halt]).run()).toEqual(['apart', 'apart', 'apart']);
  });

  it('is interrupted by an abort', async () => {
    const abort = new AbortController();
    const { run } = createDatabaseOfThree([withCode('57P01')]);
    const running = run(abort.signal);
    abort.abort();
    expect(await running).toEqual(['interrupted', 'interrupted', 'interrupted']);
  });
});

describe('a COMMIT of several without an answer', () => {
  it('is decided for each partition by its own offset, and what was not applied is tried again', async () => {
    const unanswered = new CommitOutcomeUnknownError(batches, withCode('ECONNRESET'));
    const { calls, run } = createDatabaseOfThree(
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

describe('an error', () => {
  it.each([...['08006', '25P03', '25006', '40001', '40P01', '53300', '55P03', '57014', '57P01', 'ECONNRESET']])(
    '%s is transient',
    (code) => {
      expect(findTransientReason(withCode(code))).toBeDefined();
    },
  );

  it.each(['23505', '28P01', '42P01', '22P02', '42601', 'XX000'])('%s is not', (code) => {
    expect(findTransientReason(withCode(code))).toBeUndefined();
  });

  it('is looked for in the causes of an error', () => {
    const wrapped = new Error('outside', { cause: new Error('between', { cause: withCode('40P01') }) });
    expect(findTransientReason(wrapped)).toBe('40P01');
  });

  it('of the program is permanent', () => {
    expect(findTransientReason(new TypeError('x is not a function'))).toBeUndefined();
    expect(findTransientReason('thrown text')).toBeUndefined();
  });
});
