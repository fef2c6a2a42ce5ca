// Tells Postgres how far it may forget, and only after a look at the publication that is younger than what it tells: an
// acknowledgement would move past rows that an altered publication has lost (I7, I11). Guarantees: acknowledged is only what was requested before a look that found nothing changed.
import { setTimeout as delay } from 'node:timers/promises';
import { LSN_ZERO, type Lsn, maxLsn } from '#schemas/lsn.ts';
import { failpoint } from '#service/failpoint.ts';
import type { PublicationLook } from './publication-look.ts';

/** The least time between two looks: ten a second cost nothing, and hold back no more WAL than a blink writes. */
const LOOK_EVERY_MS = 100;

export interface Acknowledger {
  /** Everything before `throughLsn` is in a committed checkpoint. */
  request(throughLsn: Lsn): void;
  /** Resolves when all that was requested is acknowledged. */
  settled(): Promise<void>;
  close(): void;
}

export function createAcknowledger(options: {
  lookAtPublication: PublicationLook;
  acknowledge: (throughLsn: Lsn) => void;
  onFailure: (error: Error) => void;
}): Acknowledger {
  let requested = LSN_ZERO;
  let acknowledged = LSN_ZERO;
  let running: Promise<void> | undefined;
  let lookedAtMs = Number.NEGATIVE_INFINITY;
  let isClosed = false;

  const lookAndAcknowledge = async (throughLsn: Lsn): Promise<void> => {
    lookedAtMs = performance.now();
    await options.lookAtPublication(throughLsn);
    if (isClosed) return;
    await failpoint('reader.before-acknowledge');
    options.acknowledge(throughLsn);
    acknowledged = throughLsn;
    await failpoint('reader.after-acknowledge');
  };

  const run = async (): Promise<void> => {
    try {
      while (requested > acknowledged && !isClosed) {
        const waitMs = lookedAtMs + LOOK_EVERY_MS - performance.now();
        if (waitMs > 0) await delay(waitMs, undefined, { ref: false });
        if (!isClosed) await lookAndAcknowledge(requested);
      }
    } catch (error) {
      if (!isClosed) options.onFailure(error as Error);
      isClosed = true;
    } finally {
      running = undefined; // in the same turn as the loop's last test of `requested`, or a request would be missed
    }
  };

  return {
    request(throughLsn) {
      requested = maxLsn(requested, throughLsn);
      // With nothing to do run() would end before its promise is kept, which then would be kept for ever.
      if (requested > acknowledged && running === undefined && !isClosed) running = run();
    },
    async settled() {
      while (running !== undefined) await running;
    },
    close() {
      isClosed = true;
    },
  };
}
