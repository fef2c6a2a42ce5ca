// Migrations at start-up, with patience: a database that is away is waited for and said to be, one that refuses is an
// error. The server listens meanwhile, so that health checks see why it is not ready.
import { setTimeout } from 'node:timers/promises';
import { isDatabaseAway } from '#service/database.ts';
import type { Logger } from '#service/logger.ts';
import { migrateOrders } from './migrate-orders.ts';

/** A database that starts up beside this service is there within seconds; asking each second is no load. */
const RETRY_MS = 1_000;

/**
 * Migrates the orders database, and where it is away, logs so and tries again until it is there.
 * @throws what migrateOrders throws when the database is there and refuses; an AbortError once `signal` is aborted
 */
export async function migrateWhenReachable(options: {
  readonly databaseUrl: string;
  readonly publicationName: string;
  readonly logger: Logger;
  readonly signal: AbortSignal;
}): Promise<void> {
  const { logger, signal } = options;
  for (;;) {
    signal.throwIfAborted();
    try {
      const { applied, publicationCreated } = await migrateOrders(options);
      const about = { event: 'orders.migrated', applied: applied.length, publicationCreated };
      return logger.info(about, 'the orders database is up to date');
    } catch (error) {
      if (!isDatabaseAway(error)) throw error;
      logger.warn(
        { event: 'orders.database-away', err: error, retryMs: RETRY_MS },
        'the orders database can not be reached to migrate it; trying again',
      );
    }
    await setTimeout(RETRY_MS, undefined, { signal });
  }
}
