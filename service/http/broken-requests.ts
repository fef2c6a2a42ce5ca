/**
 * Requests that never reach a route because of how they arrive: bytes that are no HTTP, headers that are too large,
 * headers or bodies that come too slowly, expectations that can't be met.
 *
 * Guarantees that each is answered with a problem document of its own status, at once where the headers tell already,
 * and that the connection is then closed. Leaves to others: draining what the client still sends.
 */
import { type IncomingMessage, type Server, type ServerResponse, STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import { PROBLEM_MEDIA_TYPE, ProblemError } from '../problem.ts';

/** For the headers of a request. */
export const HEADERS_TIMEOUT_MS = 10_000;
/** For a whole request, its headers included. */
export const REQUEST_TIMEOUT_MS = 30_000;
/** A request line and all headers together. */
export const MOST_HEADER_BYTES = 16 * 1024;

const EXPECTATION_FAILED = new ProblemError({
  status: 417,
  title: STATUS_CODES[417]!,
  detail: 'The only expectation that is met is 100-continue.',
});
const NO_TUNNEL = new ProblemError({ status: 501, title: STATUS_CODES[501]!, detail: 'This server is no proxy.' });

const broken = new WeakSet<Socket>();

/** For fastify's `clientErrorHandler`: what Node's parser and its time limits refuse. */
export function answerBrokenRequest(error: NodeJS.ErrnoException, socket: Socket): void {
  if (broken.has(socket)) return;
  broken.add(socket);
  answerAfterOthers(error, socket);
}

/**
 * Requests before the broken one on the same connection may still be served: a client takes the first answer for that of
 * its first request, so theirs are sent first.
 */
function answerAfterOthers(error: NodeJS.ErrnoException, socket: Socket): void {
  const answer = (socket as { _httpMessage?: ServerResponse })._httpMessage;
  if (answer?.req.complete === true) {
    answer.once('close', () => answerAfterOthers(error, socket));
  } else if (error.code !== 'ECONNRESET' && socket.writable && answer?.headersSent !== true) {
    answerRaw(socket, explainBrokenRequest(error.code));
  } else {
    socket.destroySoon();
  }
}

/** Refuses by the headers alone what would be refused after `100 Continue`, and what else is not a request for a route. */
export function refuseByHeaders(server: Server, isAwaited: (request: IncomingMessage) => boolean): void {
  server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => {
    if (isAwaited(request)) response.writeContinue();
    server.emit('request', request, response);
  });
  server.on('checkExpectation', (request: IncomingMessage) => answerRaw(request.socket, EXPECTATION_FAILED));
  server.on('connect', (_request: IncomingMessage, socket: Socket) => answerRaw(socket, NO_TUNNEL));
}

function explainBrokenRequest(code: string | undefined): ProblemError {
  switch (code) {
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return createRefusal(
        408,
        `The headers of a request must arrive within ${HEADERS_TIMEOUT_MS / 1000} seconds, all of it within ` +
          `${REQUEST_TIMEOUT_MS / 1000}. Nothing was stored.`,
      );
    case 'HPE_HEADER_OVERFLOW':
      return createRefusal(431, `The request line and the headers may have ${MOST_HEADER_BYTES} bytes together.`);
    case 'HPE_CHUNK_EXTENSIONS_OVERFLOW':
      return createRefusal(413, 'The chunk extensions of the body are too large.');
    default:
      return createRefusal(400, 'This is not a valid HTTP request.');
  }
}

function createRefusal(status: number, detail: string): ProblemError {
  return new ProblemError({ status, title: STATUS_CODES[status]!, detail });
}

/** Where there is no reply to send with. */
function answerRaw(socket: Socket, { problem }: ProblemError): void {
  const body = JSON.stringify(problem);
  socket.write(
    [
      `HTTP/1.1 ${problem.status} ${STATUS_CODES[problem.status]}`,
      'Connection: close',
      `Content-Type: ${PROBLEM_MEDIA_TYPE}; charset=utf-8`,
      `Content-Length: ${Buffer.byteLength(body)}`,
      `\r\n${body}`,
    ].join('\r\n'),
  );
  socket.destroySoon();
}
