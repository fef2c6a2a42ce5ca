/**
 * The environment variables of order-api, their defaults and bounds.
 *
 * Guarantees that the lock timeout is below the statement timeout, so that a statement that waits for a lock fails with
 * an error that names the lock. A test compares docs/configuration.md with this file.
 */
import { ConfigurationError, commonVariables, integer, matching, port, readEnvironment } from '#service/environment.ts';
import { apiOf, apiVariables } from '#service/http/variables.ts';
import { orderDatabaseOf, orderDatabaseVariables } from '#service/postgres/variables.ts';
import { tracingVariables } from '#service/tracing/variables.ts';

export const orderApiVariables = {
  ...commonVariables,
  ...tracingVariables,
  port: port('PORT', 'Port of the HTTP API', '3001'),
  ...apiVariables,
  ...orderDatabaseVariables,
  // Postgres accepts any name; these need no quoting, in the replication protocol's options either.
  publicationName: matching('PUBLICATION_NAME', 'Publication of orders and order_items, created with the migrations', {
    form: /^[a-z_][a-z0-9_]{0,62}$/,
    expected: '1 to 63 characters of a-z 0-9 _, not beginning with a digit',
    fallback: 'tillstream',
  }),
  // An order holds a connection for one round trip and one flush to disk: ten saturate a disk's group commit.
  poolSize: integer('ORDER_DATABASE_POOL_SIZE', 'Connections to the orders database at most', {
    min: 1,
    max: 500,
    fallback: '10',
  }),
  connectTimeoutMs: integer('ORDER_DATABASE_CONNECT_TIMEOUT_MS', 'Limit for opening a connection, in milliseconds', {
    min: 100,
    max: 60_000,
    fallback: '3000',
  }),
  acquireTimeoutMs: integer(
    'ORDER_DATABASE_ACQUIRE_TIMEOUT_MS',
    'Limit for waiting for a free connection, in milliseconds; then the response is 503',
    { min: 50, max: 60_000, fallback: '2000' },
  ),
  statementTimeoutMs: integer('ORDER_DATABASE_STATEMENT_TIMEOUT_MS', 'Limit for one statement, in milliseconds', {
    min: 100,
    max: 600_000,
    fallback: '5000',
  }),
  lockTimeoutMs: integer('ORDER_DATABASE_LOCK_TIMEOUT_MS', 'Limit for waiting for one lock, in milliseconds', {
    min: 50,
    max: 600_000,
    fallback: '3000',
  }),
};

export type OrderApiConfig = ReturnType<typeof readOrderApiConfig>;

/**
 * @throws ConfigurationError listing all problems
 */
export function readOrderApiConfig(env: Readonly<Record<string, string | undefined>>) {
  const config = readEnvironment(orderApiVariables, env);
  if (config.lockTimeoutMs >= config.statementTimeoutMs) {
    throw new ConfigurationError([
      'ORDER_DATABASE_LOCK_TIMEOUT_MS: expected less than ORDER_DATABASE_STATEMENT_TIMEOUT_MS',
    ]);
  }
  return Object.freeze({ ...config, ...apiOf(config), orderDatabase: orderDatabaseOf(config) });
}
