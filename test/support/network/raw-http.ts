// HTTP by hand over a socket: what no client library would send, and what it would hide. A connection notes everything that
// it receives; writing goes on whatever comes back, as a client does that reads only after it has written.

import { connect, type Socket } from 'node:net';
import { waitFor } from '../wait.ts';

export interface RawConnection {
  readonly socket: Socket;
  /** Everything received so far. */
  received(): string;
  /** The error that the connection ended with, such as ECONNRESET or EPIPE. */
  error(): string | undefined;
  /** Resolves with everything received once the server has closed its side, or the connection broke. */
  readonly closed: Promise<string>;
  write(data: string | Buffer): void;
}

export async function connectRaw(base: string): Promise<RawConnection> {
  const { hostname, port } = new URL(base);
  const socket = connect({ host: hostname, port: Number(port), allowHalfOpen: true });
  let received = '';
  let error: string | undefined;
  const { promise: closed, resolve } = Promise.withResolvers<string>();
  socket.on('data', (data) => {
    received += data.toString('latin1');
  });
  socket.on('error', (problem: NodeJS.ErrnoException) => {
    error = problem.code;
  });
  socket.on('end', () => {
    socket.end();
    resolve(received);
  });
  socket.on('close', () => resolve(received));
  await new Promise<void>((connected) => socket.once('connect', connected));
  return {
    socket,
    received: () => received,
    error: () => error,
    closed,
    write: (data) => {
      socket.write(data);
    },
  };
}

/** Sends `text` and returns what comes back until the server closes; `Connection: close` must be part of it. */
export async function exchangeRaw(base: string, text: string | Buffer): Promise<string> {
  const connection = await connectRaw(base);
  connection.write(text);
  return connection.closed;
}

/** Status codes of all answers in what was received. */
export function readStatuses(received: string): number[] {
  return [...received.matchAll(/HTTP\/1\.1 (\d{3}) [A-Z]/g)].map(([, status]) => Number(status));
}

/** The problem document of the last answer. */
export function readProblem(received: string): { status: number; title: string; detail?: string; errors?: unknown } {
  const [head = '', body = ''] = received.slice(received.lastIndexOf('HTTP/1.1 ')).split('\r\n\r\n');
  if (!/^content-type: application\/problem\+json/im.test(head)) throw new Error(`no problem document: ${head}`);
  return JSON.parse(body);
}

/** Waits until the answer has begun. */
export async function waitForAnswer(connection: RawConnection): Promise<string> {
  return waitFor('an answer', () => connection.received().includes('\r\n\r\n') && connection.received());
}
