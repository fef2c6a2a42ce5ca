/**
 * Retries the common transaction of several partitions' batches, and tells for each what became of it.
 *
 * Guarantees: one that another sink owns is left out, and the rest is applied; after a COMMIT without an answer each
 * partition's stored offset is read, and decides for that one alone (I3, I6); a lost connection and a conflict with another
 * transaction are retried for ever (I8). Whatever else fails, time and lock limits included, may be the fault of one: all are
 * sent apart, so that only the guilty one halts or waits. Leaves to retry.ts: a batch by itself.
 */
import { causesOf } from '#service/failure.ts';
import { CommitOutcomeUnknownError } from '../errors.ts';
import type { StoredOffset, TopicPartition } from '../sql/consumer-offsets.ts';
import type { TogetherResult } from './apply-batch.ts';
import type { Batch } from './batch.ts';
import { findOutcome, findTransientReason, type RetriedResult, type RetryReport, retryTransient } from './retry.ts';

/** apart: not applied; to be tried by itself. */
export type CommonResult = RetriedResult | { readonly kind: 'apart' };

export interface CommonIo {
  readonly applyTogether: (batches: readonly Batch[]) => Promise<TogetherResult>;
  readonly readStored: (partition: TopicPartition) => Promise<StoredOffset | undefined>;
}

/** One result for each of `batches`. Does not throw. */
export async function applyInCommon(
  batches: readonly Batch[],
  io: CommonIo,
  report: RetryReport,
  signal: AbortSignal,
): Promise<ReadonlyMap<Batch, CommonResult>> {
  const results = new Map<Batch, CommonResult>();
  let isOutcomeUnknown = false;
  const remaining = (): readonly Batch[] => batches.filter((batch) => !results.has(batch));

  const attempt = async (): Promise<void> => {
    if (isOutcomeUnknown) {
      const outcomes: [Batch, RetriedResult | undefined][] = [];
      for (const batch of remaining()) outcomes.push([batch, findOutcome(batch, await io.readStored(batch))]);
      for (const [batch, outcome] of outcomes) if (outcome !== undefined) results.set(batch, outcome);
      isOutcomeUnknown = false;
    }
    for (let left = remaining(); left.length > 0; left = remaining()) {
      const result = await io.applyTogether(left);
      if (result.kind === 'fenced') for (const batch of result.lost) results.set(batch, { kind: 'stale-owner' });
      else
        for (const [index, batch] of left.entries()) results.set(batch, { kind: 'applied', ...result.counts[index]! });
    }
  };
  const attemptTogether = async (): Promise<void> => {
    try {
      await attempt();
    } catch (error) {
      if (error instanceof CommitOutcomeUnknownError) isOutcomeUnknown = true;
      // While the outcome is unknown nothing may be tried again, alone or not.
      else if (!isOutcomeUnknown && !concernsAll(error)) {
        for (const batch of remaining()) results.set(batch, { kind: 'apart' });
        return;
      }
      throw error;
    }
  };
  await retryTransient(attemptTogether, report, signal).catch(() => {
    const kind = signal.aborted ? 'interrupted' : 'apart';
    for (const batch of remaining()) results.set(batch, { kind });
  });
  return results;
}

/** Time, lock and memory limits: transient, but for one of the batches it may come again and again. */
const LIMIT = /^(55P03|57014|25P04|53200)$/;

function concernsAll(error: unknown): boolean {
  if (findTransientReason(error) === undefined) return false;
  return ![...causesOf(error)].some((cause) => LIMIT.test(String((cause as { code?: unknown }).code)));
}
