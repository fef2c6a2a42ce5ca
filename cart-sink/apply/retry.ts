/**
 * Retries database work through transient errors, and learns what became of a batch whose COMMIT was not answered.
 *
 * Guarantees: transient errors are retried for ever, with back-off and jitter (I8); a COMMIT without an answer is never
 * assumed to have happened or not, the stored offset is read (I3, I6). Retrying a batch is safe: it only applies on top
 * of its expected offset. An error that is not known to be transient halts: a retry would loop on it, and skipping the
 * batch would lose orders.
 */
import { isDatabaseAway } from '#service/database-away.ts';
import { HaltError } from '#service/halt.ts';
import { type BackOff, retry } from '#service/retry.ts';
import { CommitOutcomeUnknownError, SinkDefectError } from '../errors.ts';
import type { StoredOffset } from '../sql/consumer-offsets.ts';
import type { Batch, BatchEntry, BatchResult } from './apply-batch.ts';

/** The longest is short, so that after an outage of minutes the sink is back within seconds. */
export const SINK_BACK_OFF: BackOff = { firstMs: 100, longestMs: 5_000, random: Math.random };

/**
 * Transient beside "the database is away": rolled back because of other transactions (40), failures of its own system
 * (58), and two that a new connection meets during a failover: a password that is being changed (28) and a server that
 * does not have the database yet (3D000).
 */
const ALSO_TRANSIENT = /^(40...|58...|28...|3D000)$/;

/** A SQLSTATE or short name, for metrics; undefined if the error is not known to be transient. */
export function findTransientReason(error: unknown): string | undefined {
  if (error instanceof HaltError) return undefined;
  if (error instanceof CommitOutcomeUnknownError) return 'outcome-unknown';
  const sqlState = findSqlState(error);
  const isTransient = isDatabaseAway(error) || (sqlState !== undefined && ALSO_TRANSIENT.test(sqlState));
  return isTransient ? (sqlState ?? 'database-away') : undefined;
}

/** The SQLSTATE of an error or of the nearest of its causes that has one. */
function findSqlState(error: unknown): string | undefined {
  for (let current = error; current instanceof Error; current = current.cause) {
    const { code } = current as { code?: unknown };
    if (typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code)) return code;
  }
  return undefined;
}

export type OnRetry = (reason: string, error: unknown, waitMs: number) => void;

/** Retries `work` until it succeeds. Rejects when `signal` aborts, and with an error not known to be transient. */
export function retryTransient<T>(work: () => Promise<T>, onRetry: OnRetry, signal: AbortSignal): Promise<T> {
  return retry(work, {
    backOff: SINK_BACK_OFF,
    isTransient: (error) => findTransientReason(error) !== undefined,
    onRetry: (error, waitMs) => onRetry(findTransientReason(error)!, error, waitMs),
    signal,
  });
}

export type RetriedResult =
  | BatchResult
  /** Aborted before the batch was applied or fenced: what the database holds is unknown, so nothing may follow. */
  | { readonly kind: 'interrupted' }
  /** Ran into a time limit: a smaller batch may succeed where this one never would. */
  | { readonly kind: 'too-slow' };

export interface BatchIo {
  readonly apply: (batch: Batch) => Promise<BatchResult>;
  readonly readStored: () => Promise<StoredOffset | undefined>;
}

/** @throws HaltError: continuity is broken, or the error is not known to be transient */
export async function applyWithRetry(
  batch: Batch,
  io: BatchIo,
  onRetry: OnRetry,
  signal: AbortSignal,
): Promise<RetriedResult> {
  let isOutcomeUnknown = false;
  let isTooSlow = false;
  const attempt = async (): Promise<RetriedResult> => {
    if (isTooSlow) return { kind: 'too-slow' };
    try {
      if (isOutcomeUnknown) {
        const outcome = findOutcome(batch, await io.readStored());
        if (outcome !== undefined) return outcome;
        isOutcomeUnknown = false;
      }
      return await io.apply(batch);
    } catch (error) {
      if (error instanceof CommitOutcomeUnknownError) isOutcomeUnknown = true;
      isTooSlow = !isOutcomeUnknown && isTimeLimit(error) && batch.entries.length > 1;
      const isTransient = findTransientReason(error) !== undefined;
      if (isTransient || error instanceof HaltError) throw error;
      throw new SinkDefectError({ ...batch, offset: batch.expectedOffset }, error);
    }
  };
  try {
    return await retryTransient(attempt, onRetry, signal);
  } catch (error) {
    if (error instanceof HaltError || !signal.aborted) throw error;
    return { kind: 'interrupted' };
  }
}

/** The statement or transaction ran into its time limit. */
function isTimeLimit(error: unknown): boolean {
  const sqlState = findSqlState(error);
  return sqlState === '57014' || sqlState === '25P04';
}

/** What became of a batch whose COMMIT was not answered; undefined if it was not applied. */
function findOutcome(batch: Batch, stored: StoredOffset | undefined): BatchResult | undefined {
  if (stored === undefined || stored.ownerEpoch !== batch.ownerEpoch) return { kind: 'stale-owner' };
  if (stored.nextOffset === batch.expectedOffset) return undefined;
  if (stored.nextOffset !== batch.nextOffset) return { kind: 'stale-owner' };
  // Which of the orders were duplicates was lost with the answer.
  const count = (wanted: BatchEntry['kind']) => batch.entries.filter(({ kind }) => kind === wanted).length;
  return { kind: 'applied', orders: count('order'), duplicates: 0, changed: 0, parked: count('unreadable') };
}
