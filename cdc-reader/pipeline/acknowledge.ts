// Acknowledges to Postgres that WAL up to an LSN is no longer needed. An LSN is acknowledged only after the Kafka
// transaction that covers it has committed, and after a publication check that began later found the fingerprint
// unchanged: an acknowledgement would move past rows that an altered publication has lost (I7, I11).
import { setTimeout as delay } from 'node:timers/promises';
import { LSN_ZERO, type Lsn, maxLsn } from '#schemas/lsn.ts';
import { failpoint } from '#service/failpoint.ts';
import type { CaptureCheck } from './capture-check.ts';

/** The least time between two checks: ten a second cost nothing, and hold back little WAL. */
const CHECK_EVERY_MS = 100;

export interface Acknowledger {
  /** Everything before `throughLsn` is in a committed checkpoint. */
  request(throughLsn: Lsn): void;
  /** Resolves when all that was requested is acknowledged. */
  allAcknowledged(): Promise<void>;
  close(): void;
}

export function createAcknowledger(options: {
  captureCheck: Pick<CaptureCheck, 'run'>;
  acknowledge: (throughLsn: Lsn) => void;
  onFailure: (error: Error) => void;
}): Acknowledger {
  let requested = LSN_ZERO;
  let acknowledged = LSN_ZERO;
  let running: Promise<void> | undefined;
  let checkedAtMs = Number.NEGATIVE_INFINITY;
  let isClosed = false;

  const checkAndAcknowledge = async (throughLsn: Lsn): Promise<void> => {
    checkedAtMs = performance.now();
    await options.captureCheck.run(throughLsn);
    if (isClosed) return;
    await failpoint('reader.before-acknowledge');
    options.acknowledge(throughLsn);
    acknowledged = throughLsn;
    await failpoint('reader.after-acknowledge');
  };

  const run = async (): Promise<void> => {
    try {
      while (requested > acknowledged && !isClosed) {
        const waitMs = checkedAtMs + CHECK_EVERY_MS - performance.now();
        if (waitMs > 0) await delay(waitMs, undefined, { ref: false });
        if (!isClosed) await checkAndAcknowledge(requested);
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
    async allAcknowledged() {
      while (running !== undefined) await running;
    },
    close() {
      isClosed = true;
    },
  };
}
