/**
 * Migrates the orders database: the SQL files, then the publication of both tables.
 *
 * Safe to run by several processes at once and any number of times. At start-up an unreachable database is waited for,
 * while the server listens and reports why it is not ready; a database that refuses ends the start.
 */
import { join } from 'node:path';
import { createDatabase, isDatabaseAway } from '#service/database.ts';
import type { Logger } from '#service/logger.ts';
import { migrate } from '#service/migrate.ts';
import { retry } from '#service/retry.ts';
import { ensurePublication } from './publication.ts';

const DIRECTORY = join(import.meta.dirname, 'migrations');

/** A database that starts beside this service is there within seconds; one attempt a second is no load. */
const RETRY_MS = 1_000;

export interface OrdersMigration {
  /** Names of the migrations that this call has applied. */
  readonly applied: readonly string[];
  readonly publicationCreated: boolean;
}

interface OrdersDatabase {
  readonly databaseUrl: string;
  readonly publicationName: string;
  readonly logger: Logger;
}

/** @throws UnfitPublicationError, MigrationFailedError, or the connection's error */
export async function migrateOrders({
  databaseUrl,
  publicationName,
  logger,
}: OrdersDatabase): Promise<OrdersMigration> {
  const applied = await migrate({ databaseUrl, directory: DIRECTORY, logger });
  // A pool of its own: the wait for another process's migration is longer than a request may wait.
  const database = createDatabase({
    url: databaseUrl,
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
 * Migrates the orders database, and retries while it can't be reached.
 * @throws what {@link migrateOrders} throws if the database refuses; an AbortError once `signal` is aborted
 */
export async function migrateWhenReachable(options: OrdersDatabase & { readonly signal: AbortSignal }): Promise<void> {
  const { logger, signal } = options;
  const { applied, publicationCreated } = await retry(() => migrateOrders(options), {
    backOff: { firstMs: RETRY_MS, longestMs: RETRY_MS },
    isTransient: isDatabaseAway,
    onRetry: (error, retryMs) =>
      logger.warn(
        { event: 'orders.database-away', err: error, retryMs },
        `The orders database is unavailable, so it was not migrated; retrying in ${retryMs} ms.`,
      ),
    signal,
  });
  const about = { event: 'orders.migrated', applied: applied.length, publicationCreated };
  logger.info(about, 'The orders database is up to date.');
}
