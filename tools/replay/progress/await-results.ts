// Waits for the sinks, as long as it takes: replay_results has what they have done with a run, written by the transactions that
// did it. Guarantees: the caller gets every result, and is called when nothing has moved for a while.

import { setTimeout as delay } from 'node:timers/promises';
import type { RunResult } from '../run/run-records.ts';

const POLL_EVERY_MS = 200;
/** A running sink checks a paused partition every 2 s, and takes over from a dead one within 10 s. */
const STALLED_AFTER_MS = 20_000;

export interface AwaitOptions {
  readonly readResults: () => Promise<ReadonlyMap<number, RunResult>>;
  readonly isEnough: (results: ReadonlyMap<number, RunResult>) => boolean;
  readonly onResults: (results: ReadonlyMap<number, RunResult>) => void;
  /** Called each time nothing has moved for 20 s. */
  readonly onStalled: (results: ReadonlyMap<number, RunResult>) => Promise<void>;
  readonly signal: AbortSignal;
}

/** Resolves with the results that are enough. @throws the signal's reason, and what the database throws */
export async function awaitResults(options: AwaitOptions): Promise<ReadonlyMap<number, RunResult>> {
  const { readResults, isEnough, onResults, onStalled, signal } = options;
  let last = '';
  let movedMs = performance.now();
  for (;;) {
    signal.throwIfAborted();
    const results = await readResults();
    onResults(results);
    if (isEnough(results)) return results;
    const now = [...results.values()].map((result) => `${result.partition}:${result.updatedAt.getTime()}`).join();
    if (now !== last) {
      last = now;
      movedMs = performance.now();
    } else if (performance.now() - movedMs >= STALLED_AFTER_MS) {
      await onStalled(results);
      movedMs = performance.now();
    }
    // An abort ends the delay; the loop's first line throws its reason.
    await delay(POLL_EVERY_MS, undefined, { signal }).catch(() => undefined);
  }
}
