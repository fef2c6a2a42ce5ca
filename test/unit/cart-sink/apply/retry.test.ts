import { describe, expect, it } from 'vitest';
import { type ApplyResult, applyReliably, type ReliableApply } from '../../../../cart-sink/apply/apply-reliably.ts';
import type { Batch } from '../../../../cart-sink/apply/batch.ts';
import { CommitOutcomeUnknownError, RecordsLostError, SinkDefectError } from '../../../../cart-sink/errors.ts';
import { EMPTY_TALLY } from '../../../../cart-sink/replay-records.ts';
import { createEvent } from '../../../support/sink-events.ts';

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
};
const applied: ApplyResult = { kind: 'applied', orders: 2, duplicates: 0, changed: 0, parked: 1 };
const away = () => Object.assign(new Error('gone'), { code: '57P01' });
const unknown = () => new CommitOutcomeUnknownError(batch, away());

/** Answers one call after the other; an error is thrown. What was called is told by `calls`. */
function createDatabase(answers: { apply?: unknown[]; settled?: unknown[] }) {
  const calls: string[] = [];
  const answer = (name: 'apply' | 'settled') => async () => {
    calls.push(name);
    const next = answers[name]?.shift();
    if (next instanceof Error) throw next;
    return next as never;
  };
  const options: ReliableApply = {
    apply: answer('apply'),
    readSettled: answer('settled'),
    onRetry: (reason) => calls.push(`retry ${reason}`),
    random: () => 0,
  };
  const run = (one = batch, signal = new AbortController().signal) => applyReliably(options, one, signal);
  return { calls, run };
}

describe('applying a batch', () => {
  it('hands the answer on', async () => {
    const { run, calls } = createDatabase({ apply: [applied] });
    expect(await run()).toEqual(applied);
    expect(calls).toEqual(['apply']);
  });

  it('tries again after what passes', async () => {
    const { run, calls } = createDatabase({ apply: [away(), away(), applied] });
    expect(await run()).toEqual(applied);
    expect(calls).toEqual(['apply', 'retry 57P01', 'apply', 'retry 57P01', 'apply']);
  });

  it('reports another owner, and does not try again', async () => {
    const { run, calls } = createDatabase({ apply: [{ kind: 'stale-owner' }] });
    expect(await run()).toEqual({ kind: 'stale-owner' });
    expect(calls).toEqual(['apply']);
  });

  it('halts at a defect, and keeps its cause', async () => {
    const defect = Object.assign(new Error('syntax'), { code: '42601' });
    const { run, calls } = createDatabase({ apply: [defect] });
    const error = await run().catch((thrown) => thrown);
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
    expect(await createDatabase({ apply: [slow()] }).run()).toEqual({ kind: 'too-slow' });
    const single = { ...batch, entries: batch.entries.slice(0, 1) };
    expect(await createDatabase({ apply: [slow(), applied] }).run(single)).toEqual(applied);
  });

  it('comes back when told to, without another try', async () => {
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
    const { run, calls } = createDatabase({ apply: [unknown()], settled: [{ ownerEpoch: 7n, nextOffset: 14n }] });
    expect(await run()).toEqual({ kind: 'applied', orders: 2, duplicates: 0, changed: 0, parked: 1 });
    expect(calls).toEqual(['apply', 'retry outcome-unknown', 'settled']);
  });

  it('is repeated when it has not happened', async () => {
    const settled = [{ ownerEpoch: 7n, nextOffset: 10n }];
    const { run, calls } = createDatabase({ apply: [unknown(), applied], settled });
    expect(await run()).toEqual(applied);
    expect(calls).toEqual(['apply', 'retry outcome-unknown', 'settled', 'apply']);
  });

  it('stays unknown while the database is away', async () => {
    const settled = [away(), away(), { ownerEpoch: 7n, nextOffset: 14n }];
    const { run, calls } = createDatabase({ apply: [unknown()], settled });
    expect(await run()).toMatchObject({ kind: 'applied' });
    expect(calls.filter((call) => call === 'apply')).toHaveLength(1);
    expect(calls.filter((call) => call === 'settled')).toHaveLength(3);
  });

  it.each([
    { name: 'another owner took over', settled: { ownerEpoch: 8n, nextOffset: 14n } },
    { name: 'another owner took over before it', settled: { ownerEpoch: 8n, nextOffset: 10n } },
    { name: 'the offset is elsewhere', settled: { ownerEpoch: 7n, nextOffset: 12n } },
    { name: 'the row is gone', settled: undefined },
  ])('is nobody’s business any more when $name', async ({ settled }) => {
    const { run, calls } = createDatabase({ apply: [unknown(), applied], settled: [settled] });
    expect(await run()).toEqual({ kind: 'stale-owner' });
    expect(calls.filter((call) => call === 'apply')).toHaveLength(1);
  });
});
