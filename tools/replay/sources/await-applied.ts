// Waits until the sinks have caught up with the orders database as it was at the call: for the tables, which hold orders
// that the live stream has yet to bring. As long as it takes; whoever waits can stop it.

import { setTimeout as delay } from 'node:timers/promises';
import { parseLsn } from '#schemas/lsn.ts';
import { createDatabase } from '#service/database.ts';
import { readWalEnd } from '../../audit/sql/read-wal-end.ts';
import { settleWalEnd } from '../../audit/wait/progress.ts';
import type { Connections } from '../cli/connections.ts';
import { readAppliedThrough, readCheckpoint } from '../plan/pipeline-state.ts';

/** The reader records idle progress now and then only, so that nothing is gained by looking more often. */
const LOOK_EVERY_MS = 200;

/** @throws the signal's reason, and what the servers throw */
export async function awaitApplied(connections: Connections, signal: AbortSignal): Promise<void> {
  const { config, logger } = connections;
  const orders = createDatabase({
    url: config.orderDatabaseUrl,
    applicationName: config.applicationName,
    poolSize: 1,
    statementTimeoutMs: 10_000,
    lockTimeoutMs: 10_000,
    idleInTransactionTimeoutMs: 10_000,
    connectTimeoutMs: 5_000,
    acquireTimeoutMs: 10_000,
    logger,
  });
  try {
    const [row]: { wal_end: string }[] = await orders.pool.query(readWalEnd);
    const throughLsn = settleWalEnd(parseLsn(row!.wal_end));
    while ((await readAppliedThrough(connections, await readCheckpoint(connections))) < throughLsn) {
      signal.throwIfAborted();
      await delay(LOOK_EVERY_MS, undefined, { signal }).catch(() => signal.throwIfAborted());
    }
  } finally {
    await orders.close();
  }
}
