/**
 * Resolves to what `opening` does, or rejects at once when `signal` is aborted; what is opened after that is closed.
 */
export async function openUnlessAborted<T extends { close(): Promise<void> }>(
  opening: Promise<T>,
  signal: AbortSignal,
): Promise<T> {
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const abort = (): void => reject(signal.reason);
  signal.addEventListener('abort', abort);
  if (signal.aborted) abort();
  try {
    return await Promise.race([opening, aborted]);
  } catch (error) {
    // Whether it opens after all or fails, nobody is left to hear of it.
    opening.then((opened) => opened.close()).catch(() => undefined);
    throw error;
  } finally {
    signal.removeEventListener('abort', abort);
  }
}
