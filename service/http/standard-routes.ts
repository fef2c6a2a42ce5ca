/**
 * The routes that every service has: OpenAPI at /docs and /docs/json, liveness, readiness, metrics.
 *
 * Guarantees: every documented route also lists the problems that any route may respond with, so that a route names only
 * its own; liveness shows only that the process can respond, whatever its database, Kafka or pipeline do: an orchestrator
 * that restarts a halted service would lose the evidence and repair nothing. Leaves to services: what "ready" means.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import type { FastifyBaseLogger, FastifyInstance, FastifySchema, RawServerDefault } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import { jsonSchemaTransform, jsonSchemaTransformObject } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { Metrics } from '../metrics.ts';
import { problemResponse } from '../problem.ts';
import { isWriting } from './outcome.ts';

export type ZodFastifyInstance = FastifyInstance<
  RawServerDefault,
  IncomingMessage,
  ServerResponse,
  FastifyBaseLogger,
  ZodTypeProvider
>;

export interface Readiness {
  readonly ready: boolean;
  /** The JSON body of both responses; bigints become text. */
  readonly body: Record<string, unknown>;
}

/** Add it before the routes that it describes. */
export async function addOpenApi(
  app: ZodFastifyInstance,
  info: { readonly title: string; readonly description: string },
): Promise<void> {
  app.addHook('onRoute', ({ schema, method, config }) => {
    if (schema?.response === undefined) return;
    const isGuarded = config?.access !== undefined;
    if (isGuarded) schema.security = [{ bearer: [] }];
    schema.response = {
      ...commonProblems(schema, isWriting(String(method))),
      ...(isGuarded && guardProblems),
      ...(schema.response as object),
    };
  });
  await app.register(swagger, {
    openapi: { openapi: '3.1.0', info: { ...info, version: '1' }, components: { securitySchemes } },
    transform: jsonSchemaTransform,
    transformObject: (document) => dropUnusedSchemas(jsonSchemaTransformObject(document)),
  });
}

/** Everything that the pages load is of this server. Not the plugin's own policy: it wants HTTPS for what is HTTP here. */
const DOCS_POLICY =
  "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; object-src 'none'; frame-ancestors 'none'";

/** The description at /docs and /docs/json. */
export async function addOpenApiPages(app: ZodFastifyInstance): Promise<void> {
  await app.register(swaggerUi, { routePrefix: '/docs', staticCSP: DOCS_POLICY });
}

/** Serves the description of `app`, whose routes are complete, on another port. */
export async function copyOpenApi(app: ZodFastifyInstance, aside: ZodFastifyInstance): Promise<void> {
  // The types of the plugin know no newer form than 3.0; it serves what it is given.
  const document = app.swagger() as never;
  await aside.register(swagger, { mode: 'static', specification: { document } });
  await addOpenApiPages(aside);
}

const securitySchemes = {
  bearer: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT', description: 'Where the service runs with AUTH=jwt' },
} as const;

const guardProblems = {
  401: problemResponse('With AUTH=jwt: no token, or none that is accepted'),
  403: problemResponse('With AUTH=jwt: the token is of another user, or lacks a scope'),
  429: problemResponse('Too many requests of this caller. Nothing was stored: retry after the seconds in Retry-After'),
};

function commonProblems({ body, params, querystring, headers }: FastifySchema, writes: boolean): object {
  const takesInput = [body, params, querystring, headers].some((part) => part !== undefined);
  return {
    ...(takesInput && { 400: problemResponse('The request is not valid; errors name the fields') }),
    ...(body !== undefined && {
      408: problemResponse('The request took too long to arrive'),
      413: problemResponse('The body is too large'),
      415: problemResponse('The body is not JSON, or compressed'),
    }),
    500: problemResponse('A bug; the log of the service holds the reason'),
    503: problemResponse(
      'The database is unavailable or busy. Nothing was stored: retry after the seconds in Retry-After',
    ),
    ...(writes && {
      504: problemResponse('Stored or not, that is unknown: the database broke off. The detail says what to do'),
    }),
  };
}

/** Every named schema is generated for both directions; what no route mentions is noise. */
function dropUnusedSchemas<D extends object>(document: D): D {
  const { components } = document as { components?: { schemas?: Record<string, unknown> } };
  const text = JSON.stringify(document);
  for (const name of Object.keys(components?.schemas ?? {})) {
    if (!text.includes(`"#/components/schemas/${name}"`)) delete components?.schemas?.[name];
  }
  return document;
}

const tags = ['operations'];
const state = z.record(z.string(), z.unknown());

const liveSchema = { tags, summary: 'Does the process run?', response: { 200: state.describe('It does') } };
const readySchema = {
  tags,
  summary: 'Can the service do its work?',
  response: { 200: state.describe('It can'), 503: state.describe('It can not; the body names the reason') },
};
const pipelineSchema = {
  tags,
  summary: 'Does the pipeline of this service work?',
  response: {
    200: state.describe('It works, has nothing to do, or stands by'),
    503: state.describe('It retries for more than five seconds, waits for a person, or has halted; the body names why'),
  },
};
const metricsSchema = { tags, summary: 'Prometheus metrics' };

export function addOperationsRoutes(
  app: ZodFastifyInstance,
  options: {
    metrics: Metrics;
    readiness: () => Promise<Readiness> | Readiness;
    pipeline: () => Promise<Readiness> | Readiness;
  },
): void {
  app.get('/health/live', { schema: liveSchema }, () => ({ status: 'alive' }));

  for (const [path, schema, read] of [
    ['/health/ready', readySchema, options.readiness],
    ['/health/pipeline', pipelineSchema, options.pipeline],
  ] as const) {
    app.get(path, { schema }, async (_request, reply) => {
      const { ready, body } = await read();
      // As text: the response schema can't serialize a bigint.
      const text = JSON.stringify(body, (_key, value) => (typeof value === 'bigint' ? value.toString() : value));
      return reply
        .code(ready ? 200 : 503)
        .type('application/json')
        .send(text as never);
    });
  }

  app.get('/metrics', { schema: metricsSchema }, async (_request, reply) =>
    reply.type(options.metrics.registry.contentType).send(await options.metrics.render()),
  );
}
