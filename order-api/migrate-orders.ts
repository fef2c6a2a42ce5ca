/**
 * Migrates the orders database: the SQL files, then the publication of both tables.
 *
 * Safe to run by several processes at once and any number of times. At start-up a database that is unreachable, or
 * refuses, is waited for, while the server listens and reports why it is not ready.
 */
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { createDatabase } from '#service/database.ts';
import type { Logger } from '#service/logger.ts';
import { migrate } from '#service/migrate.ts';
import type { PipelineHealth } from '#service/pipeline-health.ts';
import type { DatabaseServer } from '#service/postgres/database-server.ts';
import { ensurePublication } from './publication.ts';

const DIRECTORY = join(import.meta.dirname, 'migrations');

export interface OrdersMigration {
  /** Names of the migrations that this call has applied. */
  readonly applied: readonly string[];
  readonly publicationCreated: boolean;
}

interface OrdersDatabase {
  readonly postgres: DatabaseServer;
  readonly publicationName: string;
  readonly logger: Logger;
}

/** @throws UnfitPublicationError, MigrationFailedError, or the connection's error */
export async function migrateOrders({ postgres, publicationName, logger }: OrdersDatabase): Promise<OrdersMigration> {
  const applied = await migrate({ postgres, directory: DIRECTORY, logger });
  // A pool of its own: the wait for another process's migration is longer than a request may wait.
  const database = createDatabase({
    postgres,
    applicationName: 'tillstream-migrate',
    poolSize: 1,
    statementTimeoutMs: 60_000,
    lockTimeoutMs: 60_000,
    idleInTransactionTimeoutMs: 60_000,
    connectTimeoutMs: 5_000,
    acquireTimeoutMs: 10_000,
    logger,
  });
  try {
    return { applied, publicationCreated: await ensurePublication(database.pool, publicationName) };
  } finally {
    await database.close();
  }
}

/**
 * Migrates the orders database, and retries for ever: while it can't be reached, and while it refuses, which `health` names.
 * @throws an AbortError once `signal` is aborted
 */
export async function migrateWhenReachable(
  options: OrdersDatabase & { readonly health: PipelineHealth; readonly signal: AbortSignal },
): Promise<void> {
  const { health, logger, signal } = options;
  for (;;) {
    signal.throwIfAborted();
    try {
      const { applied, publicationCreated } = await migrateOrders(options);
      health.working();
      const about = { event: 'orders.migrated', applied: applied.length, publicationCreated };
      return logger.info(about, 'The orders database is up to date.');
    } catch (error) {
      signal.throwIfAborted();
      const { name, message } = health.failed(error);
      const retryMs = Math.round(health.delayMs(Math.random()));
      logger.warn(
        { event: 'orders.database-away', name, err: error, retryMs },
        `The orders database was not migrated (${message}); retrying in ${retryMs} ms.`,
      );
      await delay(retryMs, undefined, { signal });
    }
  }
}
