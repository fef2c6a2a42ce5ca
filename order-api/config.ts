/**
 * What order-api reads from its environment.
 *
 * Guarantees that the time limits are in the order in which they must strike: a statement that waits for a lock gives up
 * before the statement's own limit ends it, so that the logs name the lock. The README's table is checked against this.
 */
import type { Environment } from '#service/environment.ts';
import {
  ConfigurationError,
  commonVariables,
  integer,
  matching,
  port,
  postgresUrl,
  readEnvironment,
} from '#service/environment.ts';

export const orderApiVariables = {
  ...commonVariables,
  port: port('PORT', 'Port of the HTTP API', '3001'),
  databaseUrl: postgresUrl('ORDER_DATABASE_URL', 'The orders database'),
  // Postgres takes any name; these need no quoting anywhere, the replication protocol's options included.
  publicationName: matching('PUBLICATION_NAME', 'Publication of orders and order_items, created with the migrations', {
    form: /^[a-z_][a-z0-9_]{0,62}$/,
    expected: '1 to 63 characters of a-z 0-9 _, not beginning with a digit',
    fallback: 'tillstream',
  }),
  // An order keeps a connection for one round trip and one flush to disk: ten fill a disk's group commit many times.
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
    'Limit for waiting for a free connection, in milliseconds; then the answer is 503',
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

export type OrderApiConfig = Environment<typeof orderApiVariables>;

/**
 * @throws ConfigurationError listing all problems
 */
export function readOrderApiConfig(env: Readonly<Record<string, string | undefined>>): OrderApiConfig {
  const config = readEnvironment(orderApiVariables, env);
  if (config.lockTimeoutMs >= config.statementTimeoutMs) {
    throw new ConfigurationError([
      'ORDER_DATABASE_LOCK_TIMEOUT_MS: expected less than ORDER_DATABASE_STATEMENT_TIMEOUT_MS',
    ]);
  }
  return config;
}
