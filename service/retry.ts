/**
 * Retries with exponential back-off: the one formula and the one loop.
 *
 * Guarantees: an error that is not transient is thrown at once and as it is; once `signal` is aborted nothing is retried.
 * Retries have no limit of their own (I8): whoever wants one counts attempts in `isTransient`, or sets a deadline around
 * the whole. Leaves to the caller: which errors are transient, and what to log.
 */
import { setTimeout as delay } from 'node:timers/promises';

export interface BackOff {
  readonly firstMs: number;
  /** Reached by doubling. */
  readonly longestMs: number;
  /**
   * Uniform in [0, 1). With it, up to a quarter is taken off each wait, so that the clients of a server that comes back do
   * not all return at once.
   */
  readonly random?: (() => number) | undefined;
}

/** Beyond this many doublings every wait is the longest; it keeps the power finite. */
const MOST_DOUBLINGS = 16;

/** The wait before the `attempt`th retry, from 1. */
export function backOffMs({ firstMs, longestMs, random }: BackOff, attempt: number): number {
  const full = Math.min(longestMs, firstMs * 2 ** Math.min(attempt - 1, MOST_DOUBLINGS));
  return random === undefined ? full : Math.round(full * (0.75 + 0.25 * random()));
}

export interface RetryPolicy {
  readonly backOff: BackOff;
  /** Whether a retry may succeed; `attempt` is the number of failures so far. */
  readonly isTransient: (error: unknown, attempt: number) => boolean;
  /** Called before each wait. */
  readonly onRetry?: (error: unknown, waitMs: number) => void;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Retries `work` until it succeeds.
 * @throws the first error that is not transient; the signal's reason, or an AbortError, once `signal` is aborted
 */
export async function retry<T>(work: () => Promise<T>, policy: RetryPolicy): Promise<T> {
  const { backOff, isTransient, onRetry, signal } = policy;
  for (let attempt = 1; ; attempt += 1) {
    signal?.throwIfAborted();
    try {
      return await work();
    } catch (error) {
      if (!isTransient(error, attempt)) throw error;
      signal?.throwIfAborted();
      const waitMs = backOffMs(backOff, attempt);
      onRetry?.(error, waitMs);
      await delay(waitMs, undefined, signal === undefined ? {} : { signal });
    }
  }
}
