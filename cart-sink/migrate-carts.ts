import { join } from 'node:path';
import type { Logger } from '#service/logger.ts';
import { migrate } from '#service/migrate.ts';
import type { DatabaseServer } from '#service/postgres/database-server.ts';

/**
 * Migrates the carts database. Several processes may run it at once, any number of times.
 * @returns the names of the migrations that were applied now
 * @throws at once when the database is away; MigrationFailedError when it refuses
 */
export function migrateCarts(options: {
  readonly postgres: DatabaseServer;
  readonly logger: Logger;
}): Promise<readonly string[]> {
  return migrate({ ...options, directory: join(import.meta.dirname, 'migrations') });
}
