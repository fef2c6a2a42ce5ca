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
import { createCommandOutput } from './json-output.ts';
import { createCommand, describeError, runTool } from './run-tool.ts';

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

const describe = (applied: readonly string[]) =>
  applied.length === 0 ? 'up to date' : `applied ${applied.join(', ')}`;

/** A failure names the database. */
async function on<T>(database: string, migrate: () => Promise<T>): Promise<T> {
  try {
    return await migrate();
  } catch (error) {
    throw new Error(`${database}: ${describeError(error)}`, { cause: error });
  }
}

await runTool('migrate', process, EXIT_FAILED, async () => {
  const command = createCommand('migrate', 'Applies the pending migrations of the databases whose URLs are set.')
    .option('--json', 'one JSON object on standard output; lines for people on standard error', false)
    .allowExcessArguments(false)
    .parse(process.argv.slice(2), { from: 'user' });
  const output = createCommandOutput(process, command.opts<{ json: boolean }>().json);
  const { publicationName, ...values } = readEnvironment(migrateVariables, process.env);
  const { orderDatabase, cartDatabase } = givenDatabasesOf(values);
  if (orderDatabase === undefined && cartDatabase === undefined) {
    throw new ConfigurationError(['set ORDER_DATABASE_URL, CART_DATABASE_URL or both: there is nothing to migrate']);
  }
  const done: Record<string, object> = {};
  if (orderDatabase !== undefined) {
    const migrated = await on('orders database', () =>
      migrateOrders({ postgres: orderDatabase, publicationName, logger }),
    );
    const { applied, publicationCreated } = migrated;
    const publication = `publication ${publicationName} ${publicationCreated ? 'created' : 'is there'}`;
    output.print(`orders database: ${describe(applied)}; ${publication}`);
    done.orders = { applied, publication: publicationName, publicationCreated };
  }
  if (cartDatabase !== undefined) {
    const applied = await on('carts database', () => migrateCarts({ postgres: cartDatabase, logger }));
    output.print(`carts database: ${describe(applied)}`);
    done.carts = { applied };
  }
  output.end(done);
  return 0;
});
