/**
 * Checks of every request before its route, and the end of every answer.
 *
 * Guarantees: a body is read only in the form that routes understand (plain JSON text, sent whole or in chunks); a
 * connection on which a body was left unread is closed; an answer that the client does not read is given up, so that
 * it can't be kept in memory for ever. Leaves to fastify: media types, the size of bodies, JSON.
 */
import { type IncomingMessage, STATUS_CODES } from 'node:http';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { ProblemError } from '../problem.ts';

/** The largest answer, half a megabyte, within this is 17 kB a second, beside what the kernel's buffers take at once. */
const ANSWER_TIMEOUT_MS = 30_000;

type App = Pick<FastifyInstance, 'addHook'>;

export function checkRequests(app: App): void {
  app.addHook('onRequest', async (request) => {
    refuseAmbiguousHeaders(request.raw);
    if (!request.is404) refuseCodings(request);
  });
  app.addHook('onSend', async (request, reply) => {
    if (hasUnreadBody(request.raw)) reply.header('connection', 'close');
  });
}

/** Destroys connections whose client has not read an answer within the limit, and counts them. */
export function endUnreadAnswers(app: App, abandoned: { inc(): void }, limitMs = ANSWER_TIMEOUT_MS): void {
  app.addHook('onSend', async (_request, reply) => {
    const { raw } = reply;
    const timer = setTimeout(() => {
      abandoned.inc();
      raw.destroy();
    }, limitMs);
    raw.once('close', () => clearTimeout(timer));
  });
}

/** Whether the client is to send the body of a request that asks first (`Expect: 100-continue`). */
export function isBodyAwaited({ headers }: IncomingMessage, bodyLimitBytes: number): boolean {
  const length = Number(headers['content-length'] ?? 0);
  const isJson = /^\s*application\/json\s*(;|$)/i.test(headers['content-type'] ?? '');
  return length <= bodyLimitBytes && isJson && isIdentity(headers['content-encoding']);
}

function isIdentity(coding: string | undefined): boolean {
  return coding === undefined || coding.trim() === '' || coding.trim().toLowerCase() === 'identity';
}

/** Of a repeated one Node would take the first, and a proxy in front perhaps the last. */
function refuseAmbiguousHeaders({ rawHeaders, headers, httpVersion }: IncomingMessage): void {
  for (const name of ['host', 'content-type']) {
    const times = rawHeaders.filter((raw, index) => index % 2 === 0 && raw.toLowerCase() === name).length;
    if (times > 1) {
      throw new ProblemError({ ...refusal(400), errors: [{ field: `headers.${name}`, message: 'is there twice' }] });
    }
  }
  if (headers.host === undefined && httpVersion === '1.1') {
    throw new ProblemError({ ...refusal(400), errors: [{ field: 'headers.host', message: 'is missing' }] });
  }
}

function refuseCodings({ raw: { headers } }: FastifyRequest): void {
  if (!isIdentity(headers['content-encoding'])) {
    throw new ProblemError({
      ...refusal(415, 'Bodies are not decompressed here: send the JSON as it is.'),
      errors: [{ field: 'headers.content-encoding', message: 'is not identity' }],
      headers: { 'accept-encoding': 'identity' },
    });
  }
  const transfer = headers['transfer-encoding'];
  if (transfer !== undefined && transfer.trim().toLowerCase() !== 'chunked') {
    throw new ProblemError({
      ...refusal(501, 'Of the transfer codings only chunked is known here.'),
      errors: [{ field: 'headers.transfer-encoding', message: 'is not chunked' }],
    });
  }
}

function refusal(status: number, detail = 'The request is not valid.') {
  return { status, title: STATUS_CODES[status]!, detail };
}

/** While a request without a body is answered, Node may not have noted its end yet: the headers tell. */
function hasUnreadBody({ complete, headers }: IncomingMessage): boolean {
  const announced = headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
  return announced && !complete;
}
