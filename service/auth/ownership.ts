/**
 * What a caller may do: the one rule of ownership, in force for every route of both APIs.
 *
 * Guarantees: a route that does not declare its `config.access` ends the start, so that none is open by omission; a route of
 * a user (in its path or body) serves that user only; Idempotency-Keys, which are unique per user, so belong to the
 * authenticated subject. Leaves to a route whose user is known only from the database: to call {@link mayAccess} with it.
 */
import type { FastifyRequest } from 'fastify';
import { isWriting } from '../http/outcome.ts';
import type { LimitRate } from '../http/rate-limit.ts';
import type { ZodFastifyInstance } from '../http/standard-routes.ts';
import { ProblemError } from '../problem.ts';
import type { Access, Caller } from './access.ts';

/** Reads whatever users have; changes nothing of theirs. */
export const OPERATOR = 'operator';

type RouteAccess =
  /** The `userId` of path or body must be the caller's. */
  | 'named-user'
  /** The route finds out whose it is, and asks {@link mayAccess}. */
  | 'found-user'
  /** The caller needs this scope, whoever it is. */
  | { readonly scope: 'orders:pay' };

declare module 'fastify' {
  interface FastifyContextConfig {
    access?: RouteAccess;
  }
  interface FastifyRequest {
    /** Undefined outside of routes that {@link guardRoutes} guards. */
    caller: Caller | undefined;
  }
}

type Asking = Pick<FastifyRequest, 'caller' | 'method'>;

/** Whether the caller of `request` may do what it asks for with what is `userId`'s. */
export function mayAccess({ caller, method }: Asking, userId: string): boolean {
  if (caller === undefined) return false;
  if (caller.kind === 'anyone' || caller.subject === userId) return true;
  return caller.scopes.has(OPERATOR) && !isWriting(method);
}

/** Guards the routes that are added to `app` from now on. `limitRate` counts refused callers too, by their address. */
export function guardRoutes(app: ZodFastifyInstance, access: Access, limitRate: LimitRate): void {
  app.decorateRequest('caller', undefined);
  app.addHook('onRoute', ({ method, url, config }) => {
    if (config?.access === undefined)
      throw new Error(`${method} ${url} does not declare who may call it (config.access)`);
  });
  app.addHook('onRequest', async (request) => {
    try {
      request.caller = await access.identify(request.headers.authorization);
    } finally {
      await limitRate(request);
    }
    const { access: needed } = request.routeOptions.config;
    if (typeof needed === 'object') requireScope(request.caller, needed.scope);
  });
  app.addHook('preHandler', async (request) => {
    if (request.routeOptions.config.access === 'named-user') requireNamedUser(request);
  });
}

/** @throws ProblemError 403 */
export function requireScope(caller: Caller, scope: string): void {
  if (caller.kind === 'anyone' || caller.scopes.has(scope)) return;
  throw new ProblemError({
    status: 403,
    title: 'Forbidden',
    detail: `This needs a token with the scope ${scope}.`,
    errors: [{ field: 'headers.authorization', message: `lacks the scope ${scope}` }],
    headers: { 'www-authenticate': `Bearer error="insufficient_scope", scope="${scope}"` },
  });
}

/** Runs after validation: the ids are what the route will use. */
function requireNamedUser(request: FastifyRequest): void {
  const named = Object.entries({ params: request.params, body: request.body }).flatMap(([part, value]) => {
    const { userId } = (value ?? {}) as { userId?: unknown };
    return typeof userId === 'string' ? [{ field: `${part}.userId`, userId }] : [];
  });
  if (named.length === 0) throw new Error(`${request.routeOptions.url} names no user, and declares that it does`);
  const foreign = named.filter(({ userId }) => !mayAccess(request, userId));
  if (foreign.length === 0) return;
  throw new ProblemError({
    status: 403,
    title: 'Forbidden',
    detail: 'The token is of another user.',
    errors: foreign.map(({ field }) => ({ field, message: 'is not the subject of the token' })),
  });
}
