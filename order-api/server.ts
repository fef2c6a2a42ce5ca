/**
 * The whole of order-api: the HTTP server, the connection pool, and the migrations, which run while it listens.
 *
 * Guarantees: liveness responds from the first moment, with or without a database; until the migrations have run,
 * requests for orders get 503 and nothing is written. A migration that the database refuses ends the start.
 */
import { createAccess } from '#service/auth/access.ts';
import { guardRoutes } from '#service/auth/ownership.ts';
import { createDatabase } from '#service/database.ts';
import { classifyFailure } from '#service/failure.ts';
import { createRateLimit } from '#service/http/rate-limit.ts';
import type { RecentEvents } from '#service/http/recent-events.ts';
import { createHttpServer, type Readiness } from '#service/http-server.ts';
import type { Logger } from '#service/logger.ts';
import { createMetrics } from '#service/metrics.ts';
import { createPipelineHealth } from '#service/pipeline-health.ts';
import { certificatesOfServer } from '#service/postgres/database-server.ts';
import { reportPools } from '#service/postgres/pool-load.ts';
import { warnOfUndecidedTls } from '#service/postgres/variables.ts';
import { ProblemError } from '#service/problem.ts';
import { watchCertificates } from '#service/security/certificate-expiry.ts';
import type { OrderApiConfig } from './config.ts';
import { migrateWhenReachable } from './migrate-orders.ts';
import { createOrderCounters } from './routes/order-routes.ts';
import { addPayOrder } from './routes/pay-order.ts';
import { addPlaceOrder } from './routes/place-order.ts';
import { addReadOrders } from './routes/read-orders.ts';
import { checkTables } from './sql/orders.ts';

export interface OrderApi {
  readonly url: string;
  readonly logger: Logger;
  readonly shutdownDelayMs: number;
  /** Finishes running requests, then closes the connections. */
  close(): Promise<void>;
}

/** 500 items of the longest ids, indented, are some 150 kB. */
const BODY_LIMIT_BYTES = 512 * 1024;

const DOCS = {
  title: 'Tillstream orders',
  description:
    'Places and pays orders. The ordered goods leave the cart asynchronously, shortly after. Amounts are in cents.',
};

/**
 * Resolves when the server listens and the migrations have run (with MIGRATE=off, when it listens).
 * @throws what ended the start, with everything closed; an AbortError if `signal` was aborted
 */
export async function startOrderApi(
  config: OrderApiConfig,
  logger: Logger,
  signal: AbortSignal,
  events?: RecentEvents,
): Promise<OrderApi> {
  warnOfUndecidedTls(config.orderDatabaseUrl, logger);
  const metrics = createMetrics('order-api', config.commit);
  watchCertificates(certificatesOfServer(config.orderDatabase), metrics, logger);
  const database = createDatabase({
    postgres: config.orderDatabase,
    applicationName: 'tillstream-order-api',
    poolSize: config.poolSize,
    statementTimeoutMs: config.statementTimeoutMs,
    lockTimeoutMs: config.lockTimeoutMs,
    // Every request is one statement: no session idles inside a transaction.
    idleInTransactionTimeoutMs: config.statementTimeoutMs,
    connectTimeoutMs: config.connectTimeoutMs,
    acquireTimeoutMs: config.acquireTimeoutMs,
    logger,
  });
  reportPools(metrics, { orders: database });
  const health = createPipelineHealth({ metrics, logger, classify: classifyFailure });
  let migrated = !config.migrate;

  const readiness = async (): Promise<Readiness> => {
    if (!migrated) {
      const trouble = health.current();
      const why = trouble && { state: trouble.kind, name: trouble.name, reason: trouble.message, since: trouble.since };
      return { ready: false, body: { database: 'not migrated yet', ...why } };
    }
    try {
      await database.pool.query(checkTables);
      return { ready: true, body: { database: 'reachable' } };
    } catch (error) {
      logger.warn(
        { event: 'orders.not-ready', err: error },
        'The orders database is unavailable, or lacks a table or column of order-api/migrations: one that was dropped must be added again by hand.',
      );
      return { ready: false, body: { database: 'unreachable, or without a table or column of this service' } };
    }
  };
  const http = await createHttpServer({
    service: 'order-api',
    host: config.host,
    allowedHosts: config.allowedHosts,
    port: config.port,
    operations: config.operations,
    shutdownDelayMs: config.shutdownDelayMs,
    trustedProxies: config.trustedProxies,
    logger,
    metrics,
    events,
    readiness,
    docs: DOCS,
    bodyLimitBytes: BODY_LIMIT_BYTES,
  });
  const access = createAccess(config.tokenRules, { logger, metrics });
  await http.app.register(async (app) => {
    guardRoutes(app, access, await createRateLimit(app, config.requestsPerMinute));
    app.addHook('onRequest', async () => {
      if (!migrated) throw createNotMigrated();
    });
    const routes = { app, database, counters: createOrderCounters(metrics) };
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
    if (!migrated) await migrateWhenReachable({ ...config, postgres: config.orderDatabase, logger, health, signal });
    migrated = true;
    return { url, logger, shutdownDelayMs: config.shutdownDelayMs, close };
  } catch (error) {
    await close();
    throw error;
  }
}

function createNotMigrated(): ProblemError {
  return new ProblemError({
    status: 503,
    title: 'Database not available',
    detail: 'The orders database has not been reached and migrated yet. Nothing was stored: retry.',
    headers: { 'retry-after': '1' },
  });
}
