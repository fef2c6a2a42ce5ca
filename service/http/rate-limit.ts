/**
 * How many requests one caller may make of an API in a minute: counted by the subject of its token, else by its address.
 *
 * Guarantees: whose limit is reached gets 429 with Retry-After, and nobody else notices; health and metrics are not counted;
 * memory is bounded, however many callers there are. Leaves to what is in front: limits across several processes, since each
 * counts for itself, and floods that no answer stops.
 */
import rateLimit from '@fastify/rate-limit';
import type { FastifyRequest } from 'fastify';
import { ProblemError } from '../problem.ts';
import type { ZodFastifyInstance } from './standard-routes.ts';

const WINDOW_MS = 60_000;
/** Callers that are counted at a time, some 200 bytes each; beyond it those that were silent longest begin again. */
const MOST_CALLERS = 10_000;

/** Throws a problem when the caller of a request has made too many. */
export type LimitRate = (request: FastifyRequest) => Promise<void>;

/** For routes of `app`; 0 is no limit. */
export async function createRateLimit(app: ZodFastifyInstance, requestsPerMinute: number): Promise<LimitRate> {
  if (requestsPerMinute === 0) return async () => undefined;
  await app.register(rateLimit, {
    global: false,
    max: requestsPerMinute,
    timeWindow: WINDOW_MS,
    cache: MOST_CALLERS,
    keyGenerator: nameCaller,
  });
  const count = app.createRateLimit();
  return async (request) => {
    const counted = await count(request);
    if (!counted.isAllowed && counted.isExceeded) throw createTooMany(requestsPerMinute, counted.ttlInSeconds);
  };
}

/** Two kinds of names, so that no subject is counted as an address. */
function nameCaller({ caller, ip }: FastifyRequest): string {
  return caller?.kind === 'subject' ? `subject ${caller.subject}` : `address ${rateLimit.normalizeIP(ip)}`;
}

function createTooMany(requestsPerMinute: number, seconds: number): ProblemError {
  return new ProblemError({
    status: 429,
    title: 'Too Many Requests',
    detail: `More than ${requestsPerMinute} requests in a minute. Nothing was stored: retry after the seconds in Retry-After.`,
    headers: { 'retry-after': String(seconds) },
  });
}
