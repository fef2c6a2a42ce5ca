/**
 * order-api as a whole: the HTTP server, the pool, and the migrations that run while it already answers.
 *
 * Guarantees: liveness is answered from the first moment, whether the database is there or not; until the migrations
 * have run, orders are answered with 503 and nothing is written. A migration that the database refuses ends the start.
 */
import { createDatabase } from '#service/database.ts';
import { createHttpServer, type Readiness } from '#service/http-server.ts';
import type { Logger } from '#service/logger.ts';
import { createMetrics } from '#service/metrics.ts';
import { ProblemError } from '#service/problem.ts';
import type { OrderApiConfig } from './config.ts';
import { migrateWhenReachable } from './migrate-when-reachable.ts';
import { createOrderCounters } from './order-counters.ts';
import { addPayOrder } from './routes/pay-order.ts';
import { addPlaceOrder } from './routes/place-order.ts';
import { addReadOrders } from './routes/read-orders.ts';
import { checkTables } from './sql/check-tables.ts';

export interface OrderApi {
  readonly url: string;
  readonly logger: Logger;
  /** Finishes running requests, then lets the connections go. */
  close(): Promise<void>;
}

/** 500 items of the longest ids, indented, are some 150 kB. */
const BODY_LIMIT_BYTES = 512 * 1024;

const DOCS = {
  title: 'Tillstream orders',
  description: 'Places and pays orders. The goods leave the cart on their own, shortly after. Amounts are in cents.',
};

/**
 * Resolves when the server listens and the migrations have run (with MIGRATE=off, when it listens).
 * @throws what ended the start, with everything let go; an AbortError when `signal` was aborted
 */
export async function startOrderApi(config: OrderApiConfig, logger: Logger, signal: AbortSignal): Promise<OrderApi> {
  const metrics = createMetrics('order-api');
  const database = createDatabase({
    url: config.databaseUrl,
    applicationName: 'tillstream-order-api',
    poolSize: config.poolSize,
    statementTimeoutMs: config.statementTimeoutMs,
    lockTimeoutMs: config.lockTimeoutMs,
    // Every request is one statement: nothing here ever idles inside a transaction.
    idleInTransactionTimeoutMs: config.statementTimeoutMs,
    connectTimeoutMs: config.connectTimeoutMs,
    acquireTimeoutMs: config.acquireTimeoutMs,
    logger,
  });
  let migrated = !config.migrate;

  const readiness = async (): Promise<Readiness> => {
    if (!migrated) return { ready: false, body: { database: 'not migrated yet' } };
    try {
      await database.pool.query(checkTables);
      return { ready: true, body: { database: 'reachable' } };
    } catch (error) {
      logger.warn({ event: 'orders.not-ready', err: error }, 'the orders database does not answer as it should');
      return { ready: false, body: { database: 'not reachable, or without the tables of this service' } };
    }
  };
  const http = await createHttpServer({
    service: 'order-api',
    host: config.host,
    port: config.port,
    logger,
    metrics,
    readiness,
    docs: DOCS,
    bodyLimitBytes: BODY_LIMIT_BYTES,
  });
  await http.app.register(async (app) => {
    app.addHook('onRequest', async () => {
      if (!migrated) throw createNotMigrated();
    });
    const routes = { app, database: database.pool, counters: createOrderCounters(metrics) };
    addPlaceOrder(routes);
    addReadOrders(routes);
    addPayOrder(routes);
  });

  const close = async (): Promise<void> => {
    await http.close();
    await database.close();
  };
  try {
    const url = await http.listen();
    if (!migrated) await migrateWhenReachable({ ...config, logger, signal });
    migrated = true;
    return { url, logger, close };
  } catch (error) {
    await close();
    throw error;
  }
}

function createNotMigrated(): ProblemError {
  return new ProblemError({
    status: 503,
    title: 'Database not available',
    detail: 'The orders database has not been reached and brought up to date yet. Nothing was stored: ask again.',
    headers: { 'retry-after': '1' },
  });
}
