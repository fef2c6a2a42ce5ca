/**
 * The HTTP server of a service: its routes, and those for operations (health, metrics, OpenAPI) on the same port or another.
 *
 * Guarantees: with a port for operations, the other one has nothing but the service's routes; a stop is first not ready,
 * then accepts nothing new and finishes running requests; health answers until they are. Leaves to services: their own routes, and what "ready" means; to
 * http/app.ts: what is alike for every request.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { createApp, createHttpMeters } from './http/app.ts';
import { addEventsRoute, type RecentEvents } from './http/recent-events.ts';
import {
  addOpenApi,
  addOpenApiPages,
  addOperationsRoutes,
  copyOpenApi,
  type Readiness,
  type ZodFastifyInstance,
} from './http/standard-routes.ts';
import type { Logger } from './logger.ts';
import type { Metrics } from './metrics.ts';

export type { Readiness, ZodFastifyInstance };

const SERVICE_LISTENING = 'service.listening';

/** 500 items of the longest ids are some 120 kB. */
const BODY_LIMIT_BYTES = 1024 * 1024;
/** Half of what a service has for its whole stop (service/shutdown.ts). */
const DRAIN_MS = 5_000;

const STOPPING: Readiness = { ready: false, body: { state: 'stopping' } };

interface Address {
  readonly host: string;
  /** 0 lets the system choose. */
  readonly port: number;
}

export interface HttpServerOptions extends Address {
  readonly service: string;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly readiness: () => Promise<Readiness> | Readiness;
  /** The answer of GET /health/pipeline; by default that of readiness. */
  readonly pipeline?: () => Promise<Readiness> | Readiness;
  /** Where health, metrics and the OpenAPI description are, and nothing else; by default among the service's routes. */
  readonly operations?: Address | undefined;
  /** With them, GET /operations/events is where health and metrics are. */
  readonly events?: RecentEvents | undefined;
  /** Adds what this service alone has for operators, where health and metrics are. */
  readonly addOperations?: ((app: ZodFastifyInstance) => void) | undefined;
  /** With it, the OpenAPI description is served at /docs and /docs/json. */
  readonly docs?: { readonly title: string; readonly description: string };
  /** Names of a proxy on this machine, which a listener on loopback accepts beside its own. */
  readonly allowedHosts?: readonly string[] | undefined;
  /** Addresses of proxies whose X-Forwarded-For is believed. */
  readonly trustedProxies?: readonly string[];
  readonly bodyLimitBytes?: number;
  /** How long a stop goes on accepting requests, not ready, before it accepts nothing new. */
  readonly shutdownDelayMs?: number;
  /** How long a stop waits for running requests and slow clients; then it cuts their connections. */
  readonly drainMs?: number;
  /** Time limits of requests and answers; for tests. */
  readonly limits?: { readonly headersMs: number; readonly requestMs: number; readonly answerMs: number };
}

export interface HttpServer {
  readonly app: ZodFastifyInstance;
  /** Resolves with the URL. */
  listen(): Promise<string>;
  /** Is not ready from now on; after `shutdownDelayMs` accepts nothing new and finishes running requests within `drainMs`. */
  close(): Promise<void>;
}

/** The port is taken by another process. */
export class PortTakenError extends Error {
  readonly code = 'PORT_TAKEN';
  override readonly name = 'PortTakenError';
}

export async function createHttpServer(options: HttpServerOptions): Promise<HttpServer> {
  const { logger, metrics, drainMs = DRAIN_MS, bodyLimitBytes = BODY_LIMIT_BYTES, operations, docs } = options;
  const { allowedHosts, limits, trustedProxies = [], shutdownDelayMs = 0 } = options;
  let isStopping = false;
  const frame = {
    logger,
    meters: createHttpMeters(metrics),
    bodyLimitBytes,
    limits,
    allowedHosts,
    isStopping: () => isStopping,
    trustedProxies,
  };
  const app = await createApp({ ...frame, host: options.host });
  const aside = operations && (await createApp({ ...frame, host: operations.host }));
  if (docs !== undefined) {
    await addOpenApi(app, docs);
    if (aside === undefined) await addOpenApiPages(app);
  }
  const { readiness, pipeline = readiness } = options;
  addOperationsRoutes(aside ?? app, { metrics, readiness: () => (isStopping ? STOPPING : readiness()), pipeline });
  if (options.events !== undefined) addEventsRoute(aside ?? app, options.events);
  options.addOperations?.(aside ?? app);

  return {
    app,
    listen: async () => {
      await app.ready();
      if (aside !== undefined && docs !== undefined) await copyOpenApi(app, aside);
      const operationsUrl = aside && (await listen(aside, operations!, 'OPERATIONS_PORT'));
      const url = await listen(app, options, 'PORT');
      const about = { event: SERVICE_LISTENING, url, ...(operationsUrl && { operationsUrl }) };
      logger.info(about, `${options.service} listens on ${url}`);
      return url;
    },
    close: async () => {
      isStopping = true;
      if (shutdownDelayMs > 0) await delay(shutdownDelayMs);
      const untilMs = performance.now() + drainMs;
      await close(app, untilMs);
      if (aside !== undefined) await close(aside, untilMs);
    },
  };
}

async function listen(app: ZodFastifyInstance, { host, port }: Address, variable: string): Promise<string> {
  return app.listen({ host, port }).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EADDRINUSE') throw error;
    const message = `${host}:${port} is in use: stop what listens there, or set ${variable}.`;
    throw new PortTakenError(message, { cause: error });
  });
}

async function close(app: ZodFastifyInstance, untilMs: number): Promise<void> {
  const timer = setTimeout(() => app.server.closeAllConnections(), Math.max(0, untilMs - performance.now()));
  await app.close().finally(() => clearTimeout(timer));
}
