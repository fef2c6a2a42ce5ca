/**
 * Retries database work through transient errors, and learns what became of a batch whose COMMIT was not answered.
 *
 * Guarantees: transient errors are retried for ever, with back-off and jitter (I8); a COMMIT without an answer is never
 * assumed to have happened or not, the stored offset is read (I3, I6). Retrying a batch is safe: it only applies on top
 * of its expected offset. A cause that needs a person ends the session, so that another sink takes over. Any other error
 * halts the partition at the one record that can't be applied: a retry would loop on it, and skipping it loses an order.
 */
import { causesOf, classifyFailure } from '#service/failure.ts';
import { HaltError } from '#service/halt.ts';
import { type BackOff, retry } from '#service/retry.ts';
import { CommitOutcomeUnknownError, SinkDefectError } from '../errors.ts';
import type { StoredOffset } from '../sql/consumer-offsets.ts';
import type { BatchResult } from './apply-batch.ts';
import type { Batch, BatchEntry } from './batch.ts';

/** The longest is short, so that after an outage of minutes the sink is back within seconds. */
const SINK_BACK_OFF: BackOff = { firstMs: 100, longestMs: 5_000, random: Math.random };

/** A SQLSTATE or short name, for metrics; undefined if the error is not known to be transient. */
export function findTransientReason(error: unknown): string | undefined {
  if (error instanceof HaltError) return undefined;
  if (error instanceof CommitOutcomeUnknownError) return 'outcome-unknown';
  const failure = classifyFailure(error);
  return failure.kind === 'transient' ? failure.reason : undefined;
}

export interface RetryReport {
  readonly onRetry: (reason: string, error: unknown, waitMs: number) => void;
  /** Called when work has succeeded that failed before. */
  readonly onRecovered: () => void;
}

/** Retries `work` until it succeeds. Rejects when `signal` aborts, and with an error not known to be transient. */
export function retryTransient<T>(
  work: () => Promise<T>,
  { onRetry, onRecovered }: RetryReport,
  signal: AbortSignal,
): Promise<T> {
  let hasFailed = false;
  const attempt = async (): Promise<T> => {
    const result = await work();
    if (hasFailed) onRecovered();
    return result;
  };
  return retry(attempt, {
    backOff: SINK_BACK_OFF,
    isTransient: (error) => findTransientReason(error) !== undefined,
    onRetry: (error, waitMs) => {
      hasFailed = true;
      onRetry(findTransientReason(error)!, error, waitMs);
    },
    signal,
  });
}

export type RetriedResult =
  | BatchResult
  /** Aborted before the batch was applied or fenced: what the database holds is unknown, so nothing may follow. */
  | { readonly kind: 'interrupted' }
  /** Ran into a time limit, or one of its records can't be applied: a smaller batch may succeed where this one never would. */
  | { readonly kind: 'too-large' };

export interface BatchIo {
  readonly apply: (batch: Batch) => Promise<BatchResult>;
  readonly readStored: () => Promise<StoredOffset | undefined>;
}

/** @throws HaltError: continuity is broken, or nobody knows the error; else what needs a person */
export async function applyWithRetry(
  batch: Batch,
  io: BatchIo,
  report: RetryReport,
  signal: AbortSignal,
): Promise<RetriedResult> {
  let isOutcomeUnknown = false;
  let isTooLarge = false;
  const attempt = async (): Promise<RetriedResult> => {
    if (isTooLarge) return { kind: 'too-large' };
    try {
      if (isOutcomeUnknown) {
        const outcome = findOutcome(batch, await io.readStored());
        if (outcome !== undefined) return outcome;
        isOutcomeUnknown = false;
      }
      return await io.apply(batch);
    } catch (error) {
      if (error instanceof CommitOutcomeUnknownError) isOutcomeUnknown = true;
      if (isOutcomeUnknown || error instanceof HaltError) throw error;
      const isDefect = classifyFailure(error).kind === 'unknown';
      if (batch.entries.length > 1) {
        isTooLarge = isTimeLimit(error);
        if (isDefect) return { kind: 'too-large' };
      }
      const offset = batch.entries[0]?.offset ?? batch.expectedOffset; // control and aborted records may lie before it
      throw isDefect ? new SinkDefectError({ ...batch, offset }, error) : error;
    }
  };
  try {
    return await retryTransient(attempt, report, signal);
  } catch (error) {
    if (error instanceof HaltError || !signal.aborted) throw error;
    return { kind: 'interrupted' };
  }
}

/** The statement or transaction ran into its time limit. */
function isTimeLimit(error: unknown): boolean {
  return [...causesOf(error)].some((cause) => /^(57014|25P04)$/.test(String((cause as { code?: unknown }).code)));
}

/** What became of a batch whose COMMIT was not answered; undefined if it was not applied. */
export function findOutcome(batch: Batch, stored: StoredOffset | undefined): BatchResult | undefined {
  if (stored === undefined || stored.ownerEpoch !== batch.ownerEpoch) return { kind: 'stale-owner' };
  if (stored.nextOffset === batch.expectedOffset) return undefined;
  if (stored.nextOffset !== batch.nextOffset) return { kind: 'stale-owner' };
  // Which of the orders were duplicates was lost with the answer.
  const count = (wanted: BatchEntry['kind']) => batch.entries.filter(({ kind }) => kind === wanted).length;
  return { kind: 'applied', orders: count('order'), duplicates: 0, changed: 0, parked: count('unreadable') };
}
