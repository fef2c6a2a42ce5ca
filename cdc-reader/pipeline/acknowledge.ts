// Acknowledges to Postgres that WAL up to an LSN is no longer needed. An LSN is acknowledged only after the Kafka
// transaction that covers it has committed, and after a publication check that began once everything before it had come: an
// acknowledgement would move past rows that an altered publication has lost (I7, I11). What this start has published was
// checked before its commit; what it has found published is checked here.
import { LSN_ZERO, type Lsn } from '#schemas/lsn.ts';
import { failpoint } from '#service/failpoint.ts';
import type { CaptureCheck } from './capture-check.ts';

export interface Acknowledger {
  /** Everything before `throughLsn` is in a checkpoint that this start has committed, after its publication check. */
  published(throughLsn: Lsn): Promise<void>;
  /** Everything before `throughLsn` has come again, and was published by an earlier start. */
  found(throughLsn: Lsn): void;
  /** Resolves when what was found is acknowledged. */
  foundAcknowledged(): Promise<void>;
  close(): void;
}

export function createAcknowledger(options: {
  captureCheck: Pick<CaptureCheck, 'run'>;
  acknowledge: (throughLsn: Lsn) => void;
  onFailure: (error: Error) => void;
}): Acknowledger {
  let acknowledged = LSN_ZERO;
  let checking = Promise.resolve();
  let isClosed = false;

  const acknowledge = async (throughLsn: Lsn): Promise<void> => {
    if (isClosed || throughLsn <= acknowledged) return;
    await failpoint('reader.before-acknowledge');
    options.acknowledge(throughLsn);
    acknowledged = throughLsn;
    await failpoint('reader.after-acknowledge');
  };
  const checkAndAcknowledge = async (throughLsn: Lsn): Promise<void> => {
    try {
      await options.captureCheck.run(throughLsn);
      await acknowledge(throughLsn);
    } catch (error) {
      if (!isClosed) options.onFailure(error as Error);
      isClosed = true;
    }
  };

  return {
    published: acknowledge,
    found(throughLsn) {
      checking = checkAndAcknowledge(throughLsn);
    },
    foundAcknowledged: () => checking,
    close() {
      isClosed = true;
    },
  };
}
