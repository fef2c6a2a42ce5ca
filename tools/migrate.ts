// `npm run migrate`: applies the pending migrations of the databases whose URLs are set, for deployments whose services run
// with MIGRATE=off. It does what the services do when they start, under the same advisory lock, so it may run beside them and
// any number of times. Exit codes: 0 done, 78 bad configuration, 1 a database is unavailable or refuses (nothing half done).
import process from 'node:process';
import { ConfigurationError, optional, readEnvironment } from '#service/environment.ts';
import { createLogger } from '#service/logger.ts';
import {
  cartDatabaseVariables,
  cartTlsVariables,
  givenDatabasesOf,
  orderDatabaseVariables,
  orderTlsVariables,
} from '#service/postgres/variables.ts';
import { migrateCarts } from '../cart-sink/migrate-carts.ts';
import { orderApiVariables } from '../order-api/config.ts';
import { migrateOrders } from '../order-api/migrate-orders.ts';
import { describeError, runTool } from './run-tool.ts';

const EXIT_FAILED = 1;

const { orderDatabaseUrl, cartDatabaseUrl } = { ...orderDatabaseVariables, ...cartDatabaseVariables };
const migrateVariables = {
  ...orderTlsVariables,
  ...cartTlsVariables,
  orderDatabaseUrl: optional(orderDatabaseUrl),
  cartDatabaseUrl: optional(cartDatabaseUrl),
  publicationName: orderApiVariables.publicationName,
};

const logger = createLogger('migrate', 'warn');

/** Prints what was done to one database; a failure names it. */
async function report(database: string, migrate: () => Promise<string>): Promise<void> {
  try {
    process.stdout.write(`${database}: ${await migrate()}\n`);
  } catch (error) {
    throw new Error(`${database}: ${describeError(error)}`, { cause: error });
  }
}

const describe = (applied: readonly string[]) =>
  applied.length === 0 ? 'up to date' : `applied ${applied.join(', ')}`;

await runTool('migrate', process, EXIT_FAILED, async () => {
  const { publicationName, ...values } = readEnvironment(migrateVariables, process.env);
  const { orderDatabase, cartDatabase } = givenDatabasesOf(values);
  if (orderDatabase === undefined && cartDatabase === undefined) {
    throw new ConfigurationError(['set ORDER_DATABASE_URL, CART_DATABASE_URL or both: there is nothing to migrate']);
  }
  if (orderDatabase !== undefined) {
    await report('orders database', async () => {
      const migrated = await migrateOrders({ postgres: orderDatabase, publicationName, logger });
      const publication = `publication ${publicationName} ${migrated.publicationCreated ? 'created' : 'is there'}`;
      return `${describe(migrated.applied)}; ${publication}`;
    });
  }
  if (cartDatabase !== undefined) {
    await report('carts database', async () => describe(await migrateCarts({ postgres: cartDatabase, logger })));
  }
  return 0;
});
