// The databases of `npm start`'s own servers as a deployment has them: the roles of ops/postgres/roles.sql, a migrate step as
// migrator, and each service as its own role. Guarantees: a folder of an earlier version, whose tables are the superuser's, is
// moved over, and a start that changes nothing runs the same steps. A given database is left as it is: its URL's role does all.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { createLogger } from '#service/logger.ts';
import { serverOf } from '#service/postgres/database-server.ts';
import { migrateCarts } from '../../cart-sink/migrate-carts.ts';
import { migrateOrders } from '../../order-api/migrate-orders.ts';
import { type DatabaseVariable, withRole } from './service-environment.ts';
import type { StackConfig } from './stack-config.ts';

/** A step before the services failed; the message names the database. */
class MigrateStepError extends Error {
  readonly code = 'migrate_step';

  constructor(variable: DatabaseVariable, cause: unknown) {
    super(
      `The database of ${variable} could not be migrated: ${(cause as Error).message}. Run npm start again; if it stays, the ` +
        `folder was made by a newer version, or changed by hand: use another TILLSTREAM_HOME.`,
      { cause },
    );
    this.name = 'MigrateStepError';
  }
}

/** Makes roles and tables in the databases of the stack's own servers, which must run. @throws MigrateStepError */
export async function migrateOwnDatabases(config: StackConfig, repository: string): Promise<void> {
  const { ownDatabases, publicationName } = config;
  const roles = readFileSync(join(repository, 'ops', 'postgres', 'roles.sql'), 'utf8');
  const logger = createLogger('migrate', 'warn');
  const step = async (variable: DatabaseVariable, migrate: (url: string) => Promise<unknown>) => {
    const admin = ownDatabases[variable];
    if (admin === undefined) return;
    try {
      await applyRoles(admin, roles, publicationName);
      await migrate(withRole(admin, 'migrator'));
      // Once more for the tables that the migrations have made.
      await applyRoles(admin, roles, publicationName);
    } catch (cause) {
      throw new MigrateStepError(variable, cause);
    }
  };
  await Promise.all([
    step('ORDER_DATABASE_URL', (url) => migrateOrders({ postgres: serverOf(url), publicationName, logger })),
    step('CART_DATABASE_URL', (url) => migrateCarts({ postgres: serverOf(url), logger })),
  ]);
}

async function applyRoles(admin: string, roles: string, publicationName: string): Promise<void> {
  const client = new pg.Client(serverOf(admin));
  await client.connect();
  try {
    // A publication stays whose it is: the checkpoint of an older reader can't tell a new owner from a new publication.
    const settings =
      "SELECT set_config('tillstream.publication', $1, false), set_config('tillstream.keep_publication', 'on', false)";
    await client.query(settings, [publicationName]);
    await client.query(roles);
  } finally {
    await client.end();
  }
}
