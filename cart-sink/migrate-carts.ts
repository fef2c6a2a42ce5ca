import { join } from 'node:path';
import type { Logger } from '#service/logger.ts';
import { migrate } from '#service/migrate.ts';

/**
 * Brings the carts database up to date. Safe to run by several processes at once and any number of times.
 * @returns the names of the migrations that were applied now
 * @throws at once when the database is away; MigrationFailedError when it refuses
 */
export function migrateCarts(options: {
  readonly databaseUrl: string;
  readonly logger: Logger;
}): Promise<readonly string[]> {
  return migrate({ ...options, directory: join(import.meta.dirname, 'migrations') });
}
