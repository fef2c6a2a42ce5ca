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
import type { Logger } from './logger.ts';
import type { Metrics } from './metrics.ts';
import type { ProblemError } from './problem.ts';
import { createBadRequest, createInternalError, createNotFound, explainError, PROBLEM_MEDIA_TYPE } from './problem.ts';
import { addOpenApi, addOperationsRoutes, type Readiness, type ZodFastifyInstance } from './standard-routes.ts';

export type { Readiness, ZodFastifyInstance };

const SERVICE_LISTENING = 'service.listening';
const REQUEST_FAILED = 'http.request-failed';

/** 500 items of the longest ids are some 120 kB. */
const BODY_LIMIT_BYTES = 1024 * 1024;
/** Longer than any id, so that the route's own validation refuses an id that is too long, and names it. */
const LONGEST_PARAMETER = 1024;
/** For receiving a whole request; the database's limits bound the response. */
const REQUEST_TIMEOUT_MS = 30_000;
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
  /** With it, the OpenAPI description is served at /docs and /docs/json. */
  readonly docs?: { readonly title: string; readonly description: string };
  readonly bodyLimitBytes?: number;
  /** How long a stop waits for running requests and slow clients; then it cuts their connections. */
  readonly drainMs?: number;
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
  const { host, port, logger, metrics, drainMs = DRAIN_MS } = options;
  const app: ZodFastifyInstance = fastify({
    // Fastify's own informational lines have no event; requests log with ours.
    loggerInstance: logger.child(
      {},
      { level: logger.isLevelEnabled('info') ? 'warn' : logger.level },
    ) as FastifyBaseLogger,
    childLoggerFactory: () => logger,
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: options.bodyLimitBytes ?? BODY_LIMIT_BYTES,
    routerOptions: { maxParamLength: LONGEST_PARAMETER },
    requestTimeout: REQUEST_TIMEOUT_MS,
    return503OnClosing: false,
    frameworkErrors: (error, _request, reply) => sendError(error, reply as unknown as FastifyReply, logger),
    clientErrorHandler: (_error, socket) => {
      if (socket.writable) socket.end(formatRawResponse(createBadRequest()));
    },
  }).withTypeProvider<ZodTypeProvider>();
  acceptJsonOnly(app);
  app.setValidatorCompiler(validatorCompiler);
  app.setSerializerCompiler(serializerCompiler);
  app.setErrorHandler((error, _request, reply) => sendError(error, reply as unknown as FastifyReply, logger));
  app.setNotFoundHandler((_request, reply) => sendProblem(reply as unknown as FastifyReply, createNotFound()));
  closeConnectionsWhileStopping(app);
  measureRequests(app, metrics);
  if (options.docs !== undefined) await addOpenApi(app, options.docs);
  addOperationsRoutes(app, { metrics, readiness: options.readiness });

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
  const problem = explainError(error) ?? createInternalError();
  const { status } = problem.problem;
  if (status >= 500) {
    const { method, routeOptions } = reply.request;
    const about = { event: REQUEST_FAILED, method, route: routeOptions?.url, status, err: error };
    logger[status === 503 ? 'warn' : 'error'](about, 'Request failed');
  }
  return sendProblem(reply, problem);
}

/** As text: the route's response schemas must not apply to it. */
function sendProblem(reply: FastifyReply, { problem, headers }: ProblemError): FastifyReply {
  return reply.code(problem.status).headers(headers).type(PROBLEM_MEDIA_TYPE).send(JSON.stringify(problem));
}

/** For bytes that are not HTTP, where fastify has no reply object. */
function formatRawResponse({ problem }: ProblemError): string {
  const body = JSON.stringify(problem);
  return [
    `HTTP/1.1 ${problem.status} ${problem.title}`,
    'Connection: close',
    `Content-Type: ${PROBLEM_MEDIA_TYPE}`,
    `Content-Length: ${Buffer.byteLength(body)}`,
    `\r\n${body}`,
  ].join('\r\n');
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
