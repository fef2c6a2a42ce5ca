/**
 * Limits for a promise: a deadline, or an abort signal.
 *
 * Guarantees that nobody waits beyond the limit and that no timer or listener remains. `work` itself is not cancelled:
 * its later result is ignored, so the caller cuts the connection or closes what a late result brings.
 */

/** Settles as `work` does, or rejects with what `onDeadline` returns once `deadlineMs` have passed. */
export async function withDeadline<T>(work: Promise<T>, deadlineMs: number, onDeadline: () => Error): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(onDeadline()), deadlineMs);
  });
  try {
    return await Promise.race([work, deadline]);
  } finally {
    clearTimeout(timer);
  }
}

/** Whether `work` resolves within `limitMs`; rejects if it rejects within them. */
export async function resolvesWithin(work: Promise<unknown>, limitMs: number): Promise<boolean> {
  const late = new Error('late');
  try {
    await withDeadline(work, limitMs, () => late);
    return true;
  } catch (error) {
    if (error === late) return false;
    throw error;
  }
}

/** Settles as `work` does, or rejects with the signal's reason as soon as `signal` is aborted. */
export async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const abort = (): void => reject(signal.reason);
  signal.addEventListener('abort', abort);
  if (signal.aborted) abort();
  try {
    return await Promise.race([aborted, work]);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}
