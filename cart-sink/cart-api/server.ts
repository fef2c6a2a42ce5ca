/**
 * The HTTP server of the sink: the cart API beside health, metrics and /docs.
 *
 * Guarantees: carts are served while the sink is halted, too; until the database has its tables, cart requests are
 * answered with 503. Leaves to main.ts: the pool, the migrations, and what "ready" means.
 */
import type { Access } from '#service/auth/access.ts';
import { guardRoutes } from '#service/auth/ownership.ts';
import type { Database } from '#service/database.ts';
import { createRateLimit } from '#service/http/rate-limit.ts';
import { createHttpServer, type HttpServer, type HttpServerOptions, type Readiness } from '#service/http-server.ts';
import type { Logger } from '#service/logger.ts';
import type { Metrics } from '#service/metrics.ts';
import { ProblemError } from '#service/problem.ts';
import { createCartCounters } from './cart-counters.ts';
import { addCartRoutes } from './routes.ts';

export interface CartServerOptions {
  readonly host: string;
  /** 0 lets the system choose. */
  readonly port: number;
  readonly allowedHosts?: readonly string[] | undefined;
  readonly operations?: HttpServerOptions['operations'];
  readonly events?: HttpServerOptions['events'];
  readonly addOperations?: HttpServerOptions['addOperations'];
  readonly shutdownDelayMs?: number;
  readonly trustedProxies?: readonly string[];
  readonly access: Access;
  /** Of one caller; 0 is no limit, which is the default. */
  readonly requestsPerMinute?: number;
  readonly database: Database;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly readiness: () => Promise<Readiness> | Readiness;
  readonly pipeline?: () => Readiness;
  /** Whether the database has the tables of this version; yes by default. */
  readonly isMigrated?: () => boolean;
}

const DOCS = {
  title: 'Tillstream carts',
  description: 'What users have in their carts. Goods that were ordered from a cart leave it on their own.',
};

/** Resolves with a server that does not listen yet. */
export async function createCartServer(options: CartServerOptions): Promise<HttpServer> {
  const { access, requestsPerMinute = 0, database, isMigrated = () => true, ...frame } = options;
  const server = await createHttpServer({ ...frame, service: 'cart-sink', docs: DOCS });
  const counters = createCartCounters(frame.metrics);
  await server.app.register(async (app) => {
    guardRoutes(app, access, await createRateLimit(app, requestsPerMinute));
    app.addHook('onRequest', async () => {
      if (!isMigrated()) throw createNotMigrated();
    });
    addCartRoutes(app, database.pool, counters);
  });
  return server;
}

function createNotMigrated(): ProblemError {
  return new ProblemError({
    status: 503,
    title: 'Database not available',
    detail: 'The carts database has not been reached and migrated yet. Nothing was stored: retry.',
    headers: { 'retry-after': '1' },
  });
}
