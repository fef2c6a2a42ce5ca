/**
 * Brings the orders database up to date: the migrations, then the publication of both tables.
 *
 * Guarantees nothing about a database that is away: it throws, and callers decide. Safe to run by several processes at
 * once and any number of times.
 */
import { join } from 'node:path';
import { createDatabase } from '#service/database.ts';
import type { Logger } from '#service/logger.ts';
import { migrate } from '#service/migrate.ts';
import { ensurePublication } from './publication.ts';

const DIRECTORY = join(import.meta.dirname, 'migrations');

export interface OrdersMigration {
  /** Names of the migrations that were applied now. */
  readonly applied: readonly string[];
  readonly publicationCreated: boolean;
}

/**
 * @throws UnfitPublicationError when a publication of that name exists and would leave out orders; whatever the
 *   database answers to a migration that it can't run
 */
export async function migrateOrders(options: {
  readonly databaseUrl: string;
  readonly publicationName: string;
  readonly logger: Logger;
}): Promise<OrdersMigration> {
  const { databaseUrl, publicationName, logger } = options;
  const applied = await migrate({ databaseUrl, directory: DIRECTORY, logger });
  // A pool of its own: waiting for another process's migration takes longer than a request may.
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
