// Orders that a stage without a reader publishes to the sinks, round after round.
import { setTimeout as delay } from 'node:timers/promises';
import type { SinkStage } from '../stack/sink-stage.ts';

export interface SinkTraffic {
  /** How many rounds there were. */
  stop(): Promise<number>;
}

/** Publishes an order for each of `users` every few milliseconds until told to stop. */
export function startTraffic(stage: SinkStage, users: readonly string[]): SinkTraffic {
  const stopping = new AbortController();
  const running = (async () => {
    let rounds = 0;
    for (; !stopping.signal.aborted; rounds += 1) {
      await stage.publish(users);
      await delay(20, undefined, { signal: stopping.signal }).catch(() => undefined);
    }
    return rounds;
  })();
  return {
    stop: () => {
      stopping.abort();
      return running;
    },
  };
}
