/**
 * Repeats a call of the carts database through faults that pass. For calls that change nothing twice.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { backOffMs, judgeFault } from './retry.ts';

/** Rejects with what is not known to pass, and when `signal` is aborted. */
export async function retryPassing<T>(
  work: () => Promise<T>,
  options: {
    readonly signal: AbortSignal;
    readonly random: () => number;
    readonly onRetry: (reason: string, error: unknown, waitMs: number) => void;
  },
): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    options.signal.throwIfAborted();
    try {
      return await work();
    } catch (error) {
      options.signal.throwIfAborted();
      const fault = judgeFault(error);
      if (fault.kind === 'defect') throw error;
      const waitMs = backOffMs(attempt, options.random);
      options.onRetry(fault.kind === 'passing' ? fault.reason : fault.kind, error, waitMs);
      await delay(waitMs, undefined, { signal: options.signal });
    }
  }
}
