/**
 * The HTTP server of a service: requests validated by zod, problem documents, the standard routes, request metrics.
 *
 * Guarantees: every failure is a problem document and leaks nothing internal; a stop finishes running requests. Leaves to
 * services: their own routes, and what "ready" means.
 */

import type { FastifyBaseLogger, FastifyReply } from 'fastify';
import { fastify, LogController } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import { serializerCompiler, validatorCompiler } from 'fastify-type-provider-zod';
import {
  answerBrokenRequest,
  HEADERS_TIMEOUT_MS,
  MOST_HEADER_BYTES,
  REQUEST_TIMEOUT_MS,
  refuseByHeaders,
} from './http/broken-requests.ts';
import { drainBeforeClosing } from './http/close-connection.ts';
import { explainUnknownOutcome } from './http/outcome.ts';
import { checkRequests, endUnreadAnswers, isBodyAwaited } from './http/request-checks.ts';
import { addOpenApi, addOperationsRoutes, type Readiness, type ZodFastifyInstance } from './http/standard-routes.ts';
import type { Logger } from './logger.ts';
import type { Metrics } from './metrics.ts';
import type { ProblemError } from './problem.ts';
import { createInternalError, createNotFound, explainError, PROBLEM_MEDIA_TYPE } from './problem.ts';

export type { Readiness, ZodFastifyInstance };

const SERVICE_LISTENING = 'service.listening';
const REQUEST_FAILED = 'http.request-failed';

/** 500 items of the longest ids are some 120 kB. */
const BODY_LIMIT_BYTES = 1024 * 1024;
/** Longer than any id, so that the route's own validation refuses an id that is too long, and names it. */
const LONGEST_PARAMETER = 1024;
/** How late a time limit of a request may strike. */
const CHECK_TIMEOUTS_EVERY_MS = 1_000;
/** Half of what a service has for its whole stop (service/shutdown.ts). */
const DRAIN_MS = 5_000;

export interface HttpServerOptions {
  readonly service: string;
  readonly host: string;
  /** 0 lets the system choose. */
  readonly port: number;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly readiness: () => Promise<Readiness> | Readiness;
  /** The answer of GET /health/pipeline; by default that of readiness. */
  readonly pipeline?: () => Promise<Readiness> | Readiness;
  /** With it, the OpenAPI description is served at /docs and /docs/json. */
  readonly docs?: { readonly title: string; readonly description: string };
  readonly bodyLimitBytes?: number;
  /** How long a stop waits for running requests and slow clients; then it cuts their connections. */
  readonly drainMs?: number;
  /** Time limits of requests and answers; for tests. */
  readonly limits?: { readonly headersMs: number; readonly requestMs: number; readonly answerMs: number };
}

export interface HttpServer {
  readonly app: ZodFastifyInstance;
  /** Resolves with the URL. */
  listen(): Promise<string>;
  /** Accepts nothing new, finishes running requests within `drainMs`. */
  close(): Promise<void>;
}

/** The port is taken by another process. */
export class PortTakenError extends Error {
  readonly code = 'PORT_TAKEN';
  override readonly name = 'PortTakenError';
}

export async function createHttpServer(options: HttpServerOptions): Promise<HttpServer> {
  const { host, port, logger, metrics, drainMs = DRAIN_MS, bodyLimitBytes = BODY_LIMIT_BYTES, limits } = options;
  const app: ZodFastifyInstance = fastify({
    // Fastify's own informational lines have no event; requests log with ours.
    loggerInstance: logger.child(
      {},
      { level: logger.isLevelEnabled('info') ? 'warn' : logger.level },
    ) as FastifyBaseLogger,
    childLoggerFactory: () => logger,
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: bodyLimitBytes,
    routerOptions: { maxParamLength: LONGEST_PARAMETER },
    requestTimeout: limits?.requestMs ?? REQUEST_TIMEOUT_MS,
    http: {
      headersTimeout: limits?.headersMs ?? HEADERS_TIMEOUT_MS,
      connectionsCheckingInterval: Math.min(CHECK_TIMEOUTS_EVERY_MS, limits?.headersMs ?? HEADERS_TIMEOUT_MS),
      maxHeaderSize: MOST_HEADER_BYTES,
      // Refused by checkRequests, with a problem document.
      requireHostHeader: false,
    },
    return503OnClosing: false,
    frameworkErrors: (error, _request, reply) => sendError(error, reply as unknown as FastifyReply, logger),
    clientErrorHandler: answerBrokenRequest,
  }).withTypeProvider<ZodTypeProvider>();
  // The size of all headers is what is limited: of more than 2,000, Node would drop the rest, a key among them.
  app.server.maxHeadersCount = 0;
  drainBeforeClosing(app.server);
  refuseByHeaders(app.server, (request) => isBodyAwaited(request, bodyLimitBytes));
  checkRequests(app);
  endUnreadAnswers(app, metrics, limits?.answerMs);
  acceptJsonOnly(app);
  app.setValidatorCompiler(validatorCompiler);
  app.setSerializerCompiler(serializerCompiler);
  app.setErrorHandler((error, _request, reply) => sendError(error, reply as unknown as FastifyReply, logger));
  app.setNotFoundHandler((_request, reply) => sendProblem(reply as unknown as FastifyReply, createNotFound()));
  closeConnectionsWhileStopping(app);
  measureRequests(app, metrics);
  if (options.docs !== undefined) await addOpenApi(app, options.docs);
  const { readiness, pipeline = readiness } = options;
  addOperationsRoutes(app, { metrics, readiness, pipeline });

  return {
    app,
    listen: async () => {
      const url = await app.listen({ host, port }).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'EADDRINUSE') throw error;
        throw new PortTakenError(`${host}:${port} is in use: stop what listens there, or set PORT.`, { cause: error });
      });
      logger.info({ event: SERVICE_LISTENING, url }, `${options.service} listens on ${url}`);
      return url;
    },
    close: async () => {
      const timer = setTimeout(() => app.server.closeAllConnections(), drainMs);
      await app.close().finally(() => clearTimeout(timer));
    },
  };
}

/**
 * Removes fastify's parser of text/plain, so that such a request gets 415. An empty body counts as none, whatever its
 * media type: clients send the header by habit with a POST that needs no body.
 */
function acceptJsonOnly(app: ZodFastifyInstance): void {
  const parseJson = app.getDefaultJsonParser('error', 'error');
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', { parseAs: 'string' }, (request, body, done) =>
    body === '' ? done(null, undefined) : parseJson(request, body as string, done),
  );
}

function sendError(error: unknown, reply: FastifyReply, logger: Logger): FastifyReply {
  const problem = explainUnknownOutcome(error, reply.request) ?? explainError(error) ?? createInternalError();
  const { status } = problem.problem;
  // 501 is about what the client asked for.
  if (status >= 500 && status !== 501) {
    const { method, routeOptions } = reply.request;
    const about = { event: REQUEST_FAILED, method, route: routeOptions?.url, status, err: error };
    logger[status === 503 || status === 504 ? 'warn' : 'error'](about, 'Request failed');
  }
  return sendProblem(reply, problem);
}

/** As text: the route's response schemas must not apply to it. */
function sendProblem(reply: FastifyReply, { problem, headers }: ProblemError): FastifyReply {
  return reply.code(problem.status).headers(headers).type(PROBLEM_MEDIA_TYPE).send(JSON.stringify(problem));
}

/**
 * A request that runs, or arrives on an open connection, during the stop is served, and its connection is then closed:
 * kept alive, it would delay the stop until its idle limit of more than a minute.
 */
function closeConnectionsWhileStopping(app: ZodFastifyInstance): void {
  let stopping = false;
  app.addHook('preClose', async () => {
    stopping = true;
  });
  app.addHook('onSend', async (_request, reply) => {
    if (stopping) reply.header('connection', 'close');
  });
}

function measureRequests(app: ZodFastifyInstance, metrics: Metrics): void {
  const seconds = metrics.histogram('tillstream_http_request_seconds', 'Duration of HTTP requests', [
    'method',
    'route',
    'status',
  ]);
  app.addHook('onResponse', async (request, reply) => {
    const route = request.routeOptions.url ?? 'none';
    seconds.observe({ method: request.method, route, status: reply.statusCode }, reply.elapsedTime / 1000);
  });
}
