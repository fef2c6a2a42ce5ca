// Servers of `npm start` that someone has killed are started again, as the services are, so that what a fault does and
// how the pipeline comes back can be tried out. A server that ended is noticed within a second; nothing else is done to it.

import { setTimeout as delay } from 'node:timers/promises';

const lookEveryMs = 1_000;
const retryMs = 10_000;

/** A server as far as it matters here; `pid` throws when it does not run. */
export type Restartable = { readonly what: string; pid(): number; start(): Promise<void> };

/**
 * Starts `server` again whenever it has ended. Returns what ends that, which resolves when no start is going on: call it
 * before stopping the server.
 */
export function keepRunning(
  server: Restartable,
  say: (message: string) => void,
  { everyMs = lookEveryMs, afterFailureMs = retryMs }: { everyMs?: number; afterFailureMs?: number } = {},
): () => Promise<void> {
  const stopping = new AbortController();
  const { signal } = stopping;
  const watch = async (): Promise<void> => {
    for (let waitMs = everyMs; ; ) {
      await delay(waitMs, undefined, { signal });
      waitMs = everyMs;
      if (isRunning(server)) continue;
      say(`${server.what} has ended, and is started again.`);
      try {
        await server.start();
        say(`${server.what} runs again (process ${server.pid()}).`);
      } catch (error) {
        say(
          `${server.what} could not be started: ${(error as Error).message}\nTrying again in ${afterFailureMs / 1_000} s.`,
        );
        waitMs = afterFailureMs;
      }
    }
  };
  const watching = watch().catch((error) => {
    if (!signal.aborted) throw error;
  });
  return () => {
    stopping.abort();
    return watching;
  };
}

function isRunning({ pid }: Restartable): boolean {
  try {
    return pid() > 0;
  } catch {
    return false;
  }
}
