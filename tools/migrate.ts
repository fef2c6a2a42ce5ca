// `npm run migrate`: brings the databases whose URLs are set up to date and ends, for deployments whose services run with
// MIGRATE=off. It does what the services do when they start, under the same advisory lock, so it may run beside them and
// any number of times. Exit codes: 0 done, 78 bad configuration, 1 a database is away or refuses (nothing half done).

import process from 'node:process';
import { ConfigurationError, optional, postgresUrl, readEnvironment } from '#service/environment.ts';
import { createLogger } from '#service/logger.ts';
import { migrateCarts } from '../cart-sink/migrate-carts.ts';
import { orderApiVariables } from '../order-api/config.ts';
import { migrateOrders } from '../order-api/migrate-orders.ts';

const exitBadConfiguration = 78;

const migrateVariables = {
  orderDatabaseUrl: optional(orderApiVariables.databaseUrl),
  cartDatabaseUrl: optional(postgresUrl('CART_DATABASE_URL', 'The carts database')),
  publicationName: orderApiVariables.publicationName,
};

function readMigrateConfig(env: Readonly<Record<string, string | undefined>>) {
  const config = readEnvironment(migrateVariables, env);
  if (config.orderDatabaseUrl === undefined && config.cartDatabaseUrl === undefined) {
    throw new ConfigurationError(['set ORDER_DATABASE_URL, CART_DATABASE_URL or both: there is nothing to migrate']);
  }
  return config;
}

/** Runs one database's part and says how it went, or whose failure it is. */
async function report(database: string, part: () => Promise<string>): Promise<void> {
  try {
    console.log(`${database}: ${await part()}`);
  } catch (error) {
    const { message, code } = error as Error & { code?: string };
    throw new Error(`${database}: ${message || code}`, { cause: error });
  }
}

async function run(): Promise<void> {
  const { orderDatabaseUrl, cartDatabaseUrl, publicationName } = readMigrateConfig(process.env);
  const logger = createLogger('migrate', 'warn');
  const describe = (applied: readonly string[]) =>
    applied.length === 0 ? 'up to date' : `applied ${applied.join(', ')}`;
  if (orderDatabaseUrl !== undefined) {
    await report('orders database', async () => {
      const { applied, publicationCreated } = await migrateOrders({
        databaseUrl: orderDatabaseUrl,
        publicationName,
        logger,
      });
      return `${describe(applied)}; publication ${publicationName} ${publicationCreated ? 'created' : 'is there'}`;
    });
  }
  if (cartDatabaseUrl !== undefined) {
    await report('carts database', async () => describe(await migrateCarts({ databaseUrl: cartDatabaseUrl, logger })));
  }
}

try {
  await run();
} catch (error) {
  const isConfiguration = error instanceof ConfigurationError;
  const lines = isConfiguration ? ['bad configuration', ...error.problems.map((problem) => `  - ${problem}`)] : [];
  console.error(`migrate: ${isConfiguration ? lines.join('\n') : (error as Error).message}`);
  process.exitCode = isConfiguration ? exitBadConfiguration : 1;
}
