/**
 * The OpenAPI description of a service's routes, at /docs for people and /docs/json for programs.
 *
 * Guarantees that every route that declares its answers also lists the problems that any route may answer with, so
 * that routes name only what is their own. Must be added before the routes.
 */
import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import type { FastifySchema } from 'fastify';
import { jsonSchemaTransform, jsonSchemaTransformObject } from 'fastify-type-provider-zod';
import { isWriting } from './http/outcome.ts';
import type { ZodFastifyInstance } from './http-server.ts';
import { problemResponse } from './problem.ts';

export async function addOpenApi(
  app: ZodFastifyInstance,
  info: { readonly title: string; readonly description: string },
): Promise<void> {
  app.addHook('onRoute', ({ schema, method }) => {
    if (schema?.response === undefined) return;
    schema.response = { ...commonProblems(schema, isWriting(String(method))), ...(schema.response as object) };
  });
  await app.register(swagger, {
    openapi: { openapi: '3.1.0', info: { ...info, version: '1' } },
    transform: jsonSchemaTransform,
    transformObject: (document) => dropUnusedSchemas(jsonSchemaTransformObject(document)),
  });
  await app.register(swaggerUi, { routePrefix: '/docs' });
}

function commonProblems({ body, params, querystring, headers }: FastifySchema, writes: boolean): object {
  const takesInput = [body, params, querystring, headers].some((part) => part !== undefined);
  return {
    ...(takesInput && { 400: problemResponse('The request is not valid; errors name the fields') }),
    ...(body !== undefined && {
      408: problemResponse('The request took too long to arrive'),
      413: problemResponse('The body is too large'),
      415: problemResponse('The body is not JSON, or compressed'),
    }),
    500: problemResponse('A defect; the log of the service holds the reason'),
    503: problemResponse(
      'The database is away or busy. Nothing was stored: try again after the seconds in Retry-After',
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
