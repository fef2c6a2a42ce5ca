/**
 * The connection pools of the cart sink: one for each part, so that a backlog never makes a shopper wait for a connection,
 * and one of a single connection for what operators ask.
 *
 * Guarantees that a part which does not run opens no connection: pools connect when they are first used.
 */
import { createDatabase, type Database } from '#service/database.ts';
import type { Logger } from '#service/logger.ts';
import type { CartSinkConfig } from './config.ts';

/** A cart request is a few short statements; a client that would wait longer is better told to retry. */
const CART_STATEMENT_TIMEOUT_MS = 5_000;
const CART_LOCK_TIMEOUT_MS = 3_000;
const CART_IDLE_TIMEOUT_MS = 5_000;
const CONNECT_TIMEOUT_MS = 3_000;
const ACQUIRE_TIMEOUT_MS = 3_000;
/** Below the second that an operator's request has: its connection is free again for the next one. */
const STATUS_TIMEOUT_MS = 900;

export function openDatabases(
  config: CartSinkConfig,
  logger: Logger,
): { readonly carts: Database; readonly sink: Database; readonly status: Database } {
  const connection = {
    postgres: config.cartDatabase,
    connectTimeoutMs: CONNECT_TIMEOUT_MS,
    acquireTimeoutMs: ACQUIRE_TIMEOUT_MS,
    logger,
  };
  return {
    carts: createDatabase({
      ...connection,
      applicationName: 'tillstream-cart-api',
      poolSize: config.cartPoolSize,
      statementTimeoutMs: CART_STATEMENT_TIMEOUT_MS,
      lockTimeoutMs: CART_LOCK_TIMEOUT_MS,
      idleInTransactionTimeoutMs: CART_IDLE_TIMEOUT_MS,
    }),
    sink: createDatabase({
      ...connection,
      applicationName: 'tillstream-cart-sink',
      // Common transactions, and batches by themselves; one more, since taking partitions over must not wait for them.
      poolSize: 2 * config.sinkConcurrency + 1,
      statementTimeoutMs: config.statementTimeoutMs,
      lockTimeoutMs: config.lockTimeoutMs,
      idleInTransactionTimeoutMs: config.idleInTransactionTimeoutMs,
    }),
    status: createDatabase({
      ...connection,
      applicationName: 'tillstream-cart-status',
      poolSize: 1,
      connectTimeoutMs: STATUS_TIMEOUT_MS,
      acquireTimeoutMs: STATUS_TIMEOUT_MS,
      statementTimeoutMs: STATUS_TIMEOUT_MS,
      lockTimeoutMs: STATUS_TIMEOUT_MS,
      idleInTransactionTimeoutMs: STATUS_TIMEOUT_MS,
    }),
  };
}
