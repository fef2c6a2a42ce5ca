/**
 * Requests that a page of somebody else makes a browser send, and that the user of the browser did not ask for.
 *
 * Guarantees: on loopback a name that leads to it only by DNS (rebinding) is refused, so no page reads an answer as its own;
 * what changes something is JSON, or comes from no other site, so no form of another page is carried out. Leaves to
 * auth/: who calls. A token is never sent by a browser on its own.
 */
import type { IncomingHttpHeaders } from 'node:http';
import type { FastifyInstance } from 'fastify';
import { ProblemError } from '../problem.ts';
import { isLoopback } from './loopback.ts';
import { isWriting } from './outcome.ts';

/** Of a server that listens on `host`; `allowed` are names of a proxy in front that passes them on. */
export function refuseForeignPages(
  app: Pick<FastifyInstance, 'addHook'>,
  { host, allowed = [] }: { readonly host: string; readonly allowed?: readonly string[] | undefined },
): void {
  const names = new Set(allowed.map((name) => name.toLowerCase()));
  // Elsewhere the names that lead here are the operator's.
  const checksName = isLoopback(host);
  app.addHook('onRequest', async ({ method, headers, is404 }) => {
    if (checksName && !isOwnName(headers.host, names)) throw createMisdirected();
    if (!is404 && isWriting(method) && !isDeliberate(headers)) throw createNotJson();
  });
}

/** Without a Host (HTTP/1.0) no browser sent it. */
function isOwnName(host: string | undefined, allowed: ReadonlySet<string>): boolean {
  if (host === undefined) return true;
  const [, bracketed, plain] = /^(?:\[([^\]]*)\]|([^:]*))(?::\d*)?$/.exec(host.toLowerCase()) ?? [];
  const name = bracketed ?? plain;
  return name !== undefined && (isLoopback(name) || allowed.has(name));
}

/** A page can't send JSON to another site without asking it first, and no answer here permits that. */
function isDeliberate(headers: IncomingHttpHeaders): boolean {
  const type = headers['content-type'];
  if (type !== undefined) return /^\s*application\/json\s*(;|$)/i.test(type);
  const site = headers['sec-fetch-site'];
  return site === undefined ? headers.origin === undefined : site === 'same-origin' || site === 'none';
}

function createMisdirected(): ProblemError {
  return new ProblemError({
    status: 421,
    title: 'Misdirected Request',
    detail: 'This server listens on loopback and is not known by this name. An operator adds names in ALLOWED_HOSTS.',
    errors: [{ field: 'headers.host', message: 'is no name of this server' }],
  });
}

function createNotJson(): ProblemError {
  return new ProblemError({
    status: 415,
    title: 'Unsupported Media Type',
    detail: 'A request that changes something is sent as application/json.',
    errors: [{ field: 'headers.content-type', message: 'is not application/json' }],
  });
}
