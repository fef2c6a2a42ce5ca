// Retries: what is transient, and what becomes of a batch whose COMMIT was not answered (I3, I8).
import { describe, expect, it } from 'vitest';
import { EMPTY_TALLY } from '#schemas/replay/records.ts';
import type { BatchResult } from '../../../../cart-sink/apply/apply-batch.ts';
import type { Batch } from '../../../../cart-sink/apply/batch.ts';
import { applyWithRetry, findTransientReason } from '../../../../cart-sink/apply/retry.ts';
import { CommitOutcomeUnknownError, RecordsLostError, SinkDefectError } from '../../../../cart-sink/errors.ts';
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
const applied: BatchResult = { kind: 'applied', orders: 2, duplicates: 0, changed: 0, parked: 1 };
const away = () => Object.assign(new Error('gone'), { code: '57P01' });
const unknown = () => new CommitOutcomeUnknownError([batch], away());

/** Answers one call after the other; an error is thrown. `calls` lists what was called. */
function createDatabase(answers: { apply?: unknown[]; stored?: unknown[] }) {
  const calls: string[] = [];
  const answer = (name: 'apply' | 'stored') => async () => {
    calls.push(name);
    const next = answers[name]?.shift();
    if (next instanceof Error) throw next;
    return next as never;
  };
  const io = { apply: answer('apply'), readStored: answer('stored') };
  const report = {
    onRetry: (reason: string) => void calls.push(`retry ${reason}`),
    onRecovered: () => void calls.push('recovered'),
  };
  const run = (one = batch, signal = new AbortController().signal) => applyWithRetry(one, io, report, signal);
  return { calls, run };
}

describe('applying a batch', () => {
  it('hands the answer on', async () => {
    const { run, calls } = createDatabase({ apply: [applied] });
    expect(await run()).toEqual(applied);
    expect(calls).toEqual(['apply']);
  });

  it('retries after a transient error', async () => {
    const { run, calls } = createDatabase({ apply: [away(), away(), applied] });
    expect(await run()).toEqual(applied);
    expect(calls).toEqual(['apply', 'retry 57P01', 'apply', 'retry 57P01', 'apply', 'recovered']);
  });

  it('reports another owner, and does not retry', async () => {
    const { run, calls } = createDatabase({ apply: [{ kind: 'stale-owner' }] });
    expect(await run()).toEqual({ kind: 'stale-owner' });
    expect(calls).toEqual(['apply']);
  });

  it('throws what waits for a person, so that the session ends and another sink takes over', async () => {
    const refused = Object.assign(new Error('refused'), { code: '28P01' });
    const { run, calls } = createDatabase({ apply: [refused] });
    await expect(run()).rejects.toBe(refused);
    expect(calls).toEqual(['apply']);
  });

  it('asks for a smaller batch at a permanent error, until the one record that can not be applied is found', async () => {
    const defect = Object.assign(new Error('syntax'), { code: '42601' });
    const { run, calls } = createDatabase({ apply: [defect] });
    expect(await run()).toEqual({ kind: 'too-large' });
    expect(calls).toEqual(['apply']);
  });

  it('halts at one record with a permanent error, and keeps its cause', async () => {
    const defect = Object.assign(new Error('syntax'), { code: '42601' });
    const { run, calls } = createDatabase({ apply: [defect] });
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
    await expect(createDatabase({ apply: [halt] }).run()).rejects.toBe(halt);
  });

  it('asks for a smaller batch when the time limit strikes, unless it is one record already', async () => {
    const slow = () => Object.assign(new Error('statement timeout'), { code: '57014' });
    expect(await createDatabase({ apply: [slow()] }).run()).toEqual({ kind: 'too-large' });
    const single = { ...batch, entries: batch.entries.slice(0, 1) };
    expect(await createDatabase({ apply: [slow(), applied] }).run(single)).toEqual(applied);
  });

  it('ends without another attempt when it is aborted', async () => {
    const abort = new AbortController();
    const { run, calls } = createDatabase({ apply: [away(), applied] });
    const result = run(batch, abort.signal);
    setTimeout(() => abort.abort(), 10);
    expect(await result).toEqual({ kind: 'interrupted' });
    expect(calls).toEqual(['apply', 'retry 57P01']);
  });
});

describe('a COMMIT without an answer', () => {
  it('is looked up, and not repeated when it has happened', async () => {
    const { run, calls } = createDatabase({ apply: [unknown()], stored: [{ ownerEpoch: 7n, nextOffset: 14n }] });
    expect(await run()).toEqual({ kind: 'applied', orders: 2, duplicates: 0, changed: 0, parked: 1 });
    expect(calls).toEqual(['apply', 'retry outcome-unknown', 'stored', 'recovered']);
  });

  it('is repeated when it has not happened', async () => {
    const stored = [{ ownerEpoch: 7n, nextOffset: 10n }];
    const { run, calls } = createDatabase({ apply: [unknown(), applied], stored });
    expect(await run()).toEqual(applied);
    expect(calls).toEqual(['apply', 'retry outcome-unknown', 'stored', 'apply', 'recovered']);
  });

  it('stays unknown while the database is away', async () => {
    const stored = [away(), away(), { ownerEpoch: 7n, nextOffset: 14n }];
    const { run, calls } = createDatabase({ apply: [unknown()], stored });
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
    const { run, calls } = createDatabase({ apply: [unknown(), applied], stored: [stored] });
    expect(await run()).toEqual({ kind: 'stale-owner' });
    expect(calls.filter((call) => call === 'apply')).toHaveLength(1);
  });
});

describe('an error', () => {
  const withCode = (code: string) => Object.assign(new Error('told'), { code });

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
