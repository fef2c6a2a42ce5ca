// Waiting for a condition that nothing announces (another process's doing), always with a deadline and with the name of
// what is waited for in the error. Where there is an event to wait for, wait for that instead.

import { setTimeout as delay } from 'node:timers/promises';

/** The awaited condition did not come true in time; the message names it with the last value or error seen. */
export class WaitDeadlineError extends Error {
  readonly code = 'wait_deadline';

  constructor(what: string, deadlineMs: number, last: string, options?: ErrorOptions) {
    super(`Waited ${deadlineMs} ms in vain for ${what}; ${last}.`, options);
    this.name = 'WaitDeadlineError';
  }
}

/** Thrown by a condition that can no longer come true: {@link waitFor} gives up at once and throws its cause. */
export class HopelessError extends Error {
  readonly code = 'hopeless';

  constructor(cause: Error) {
    super(cause.message, { cause });
    this.name = 'HopelessError';
  }
}

/**
 * Evaluates `condition` until it returns something other than `false`, `null` or `undefined`, and returns that.
 * An exception counts as "not yet", except {@link HopelessError}. Throws a {@link WaitDeadlineError} naming `what`
 * after `deadlineMs` (10,000 by default); looks every `everyMs` (20 by default).
 */
export async function waitFor<T>(
  what: string,
  condition: () => T | Promise<T>,
  { deadlineMs = 10_000, everyMs = 20 }: { deadlineMs?: number; everyMs?: number } = {},
): Promise<Exclude<NonNullable<T>, false>> {
  const endMs = performance.now() + deadlineMs;
  for (;;) {
    let last: string;
    let cause: unknown;
    try {
      const value = await condition();
      if (value !== undefined && value !== null && value !== false) return value as Exclude<NonNullable<T>, false>;
      last = `the last value was ${String(value)}`;
    } catch (error) {
      if (error instanceof HopelessError) throw error.cause;
      last = `the last error was: ${error instanceof Error ? error.message : String(error)}`;
      cause = error;
    }
    if (performance.now() >= endMs) throw new WaitDeadlineError(what, deadlineMs, last, cause ? { cause } : undefined);
    await delay(everyMs);
  }
}
