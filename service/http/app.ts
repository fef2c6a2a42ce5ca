/**
 * One fastify application as every port of a service has it: requests validated by zod, problem documents, limits, metrics.
 *
 * Guarantees: every failure is a problem document and leaks nothing internal; a connection that is slow, broken or unread
 * is ended in time; while the service stops, answers close their connections. Leaves to http-server.ts: which routes
 * there are, on which port, and the stop.
 */
import helmet from '@fastify/helmet';
import type { FastifyBaseLogger, FastifyReply } from 'fastify';
import { fastify, LogController } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import { serializerCompiler, validatorCompiler } from 'fastify-type-provider-zod';
import type { Logger } from '../logger.ts';
import type { Metrics } from '../metrics.ts';
import type { ProblemError } from '../problem.ts';
import { createInternalError, createNotFound, explainError, PROBLEM_MEDIA_TYPE } from '../problem.ts';
import {
  answerBrokenRequest,
  HEADERS_TIMEOUT_MS,
  MOST_HEADER_BYTES,
  REQUEST_TIMEOUT_MS,
  refuseByHeaders,
} from './broken-requests.ts';
import { refuseForeignPages } from './browser-requests.ts';
import { drainBeforeClosing } from './close-connection.ts';
import { explainUnknownOutcome } from './outcome.ts';
import { checkRequests, endUnreadAnswers, isBodyAwaited } from './request-checks.ts';
import type { ZodFastifyInstance } from './standard-routes.ts';

const REQUEST_FAILED = 'http.request-failed';

/**
 * No answer but those of /docs is a page, so a browser that shows one runs and loads nothing. That the host has TLS is for
 * what speaks TLS to promise (HSTS).
 */
const NO_CONTENT = { useDefaults: false, directives: { defaultSrc: ["'none'"], frameAncestors: ["'none'"] } };

/** Longer than any id, so that the route's own validation refuses an id that is too long, and names it. */
const LONGEST_PARAMETER = 1024;
/** How late a time limit of a request may strike. */
const CHECK_TIMEOUTS_EVERY_MS = 1_000;

interface AppOptions {
  readonly host: string;
  readonly allowedHosts?: readonly string[] | undefined;
  readonly logger: Logger;
  readonly meters: ReturnType<typeof createHttpMeters>;
  readonly bodyLimitBytes: number;
  readonly isStopping: () => boolean;
  readonly trustedProxies: readonly string[];
  /** Time limits of requests and answers; for tests. */
  readonly limits?: { readonly headersMs: number; readonly requestMs: number; readonly answerMs: number } | undefined;
}

/** Of all ports of a service together. */
export function createHttpMeters(metrics: Metrics) {
  return {
    seconds: metrics.histogram('tillstream_http_request_seconds', 'Duration of HTTP requests', [
      'method',
      'route',
      'status',
    ]),
    unreadAnswers: metrics.counter(
      'tillstream_http_unread_answers_total',
      'Connections cut because the client did not read an answer in time',
    ),
  };
}

export async function createApp(options: AppOptions): Promise<ZodFastifyInstance> {
  const { logger, meters, bodyLimitBytes, limits } = options;
  const app: ZodFastifyInstance = fastify({
    // Fastify's own informational lines have no event; requests log with ours.
    loggerInstance: logger.child(
      {},
      { level: logger.isLevelEnabled('info') ? 'warn' : logger.level },
    ) as FastifyBaseLogger,
    childLoggerFactory: () => logger,
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: bodyLimitBytes,
    trustProxy: options.trustedProxies.length > 0 && [...options.trustedProxies],
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
  // Before all else that may refuse a request: a refusal has the headers too.
  await app.register(helmet, { contentSecurityPolicy: NO_CONTENT, strictTransportSecurity: false });
  refuseByHeaders(app.server, (request) => isBodyAwaited(request, bodyLimitBytes));
  checkRequests(app);
  refuseForeignPages(app, { host: options.host, allowed: options.allowedHosts });
  endUnreadAnswers(app, meters.unreadAnswers, limits?.answerMs);
  acceptJsonOnly(app);
  app.setValidatorCompiler(validatorCompiler);
  app.setSerializerCompiler(serializerCompiler);
  app.setErrorHandler((error, _request, reply) => sendError(error, reply as unknown as FastifyReply, logger));
  app.setNotFoundHandler((_request, reply) => sendProblem(reply as unknown as FastifyReply, createNotFound()));
  closeConnectionsWhileStopping(app, options.isStopping);
  app.addHook('onResponse', async (request, reply) => {
    const route = request.routeOptions.url ?? 'none';
    meters.seconds.observe({ method: request.method, route, status: reply.statusCode }, reply.elapsedTime / 1000);
  });
  return app;
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
 * kept alive, it would delay the stop until its idle limit of more than a minute. During SHUTDOWN_DELAY_MS too: clients
 * leave a connection after an answer, rather than find it closed when they send the next request.
 */
function closeConnectionsWhileStopping(app: ZodFastifyInstance, isStopping: () => boolean): void {
  app.addHook('onSend', async (_request, reply) => {
    if (isStopping()) reply.header('connection', 'close');
  });
}
