/** Small waits of a torture run that end with it, and what a reader says of itself. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Member } from './member.ts';

/** Rejects with the signal's reason as soon as it is aborted. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  await delay(ms, undefined, { signal });
}

/** `streaming`, `standby`, …; `down` when it does not answer. */
export async function readerState({ service }: Member): Promise<string> {
  try {
    return service === undefined ? 'down' : String((await service.ready()).body.state);
  } catch {
    return 'down';
  }
}
