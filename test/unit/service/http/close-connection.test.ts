// Bodies that are refused, over real connections: whatever a client sends, and however, it can read the answer.

import { request as httpRequest } from 'node:http';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { createHttpServer, type HttpServer } from '#service/http-server.ts';
import { createMetrics } from '#service/metrics.ts';
import {
  connectRaw,
  exchangeRaw,
  readProblem,
  readStatuses,
  waitForAnswer,
} from '../../../support/network/raw-http.ts';
import { createLogLines } from '../../../support/process/log-lines.ts';

let server: HttpServer;
let url: string;
let served: number;

beforeEach(async () => {
  served = 0;
  server = await createHttpServer({
    service: 'test',
    host: '127.0.0.1',
    port: 0,
    logger: createLogLines().logger,
    metrics: createMetrics('test'),
    readiness: () => ({ ready: true, body: {} }),
  });
  server.app.post('/goods', { schema: { body: z.strictObject({ sku: z.string() }) } }, () => {
    served++;
    return { ok: true };
  });
  url = await server.listen();
});
afterEach(() => server.close());

const MEGABYTE = 1024 * 1024;
const json = { 'content-type': 'application/json' };
const large = `{"sku":"${'x'.repeat(3 * MEGABYTE)}"}`;
const head = (lines: string, path = '/goods') => `POST ${path} HTTP/1.1\r\nHost: localhost\r\n${lines}\r\n\r\n`;

async function* inPieces(text: string) {
  for (let at = 0; at < text.length; at += 64 * 1024) yield Buffer.from(text.slice(at, at + 64 * 1024));
}

describe('a body of 3 MB is answered, and the client reads the answer in each of 15 tries:', () => {
  it.each<[string, string, object, number]>([
    ['JSON', '/goods', { body: large, headers: json }, 413],
    ['no JSON', '/goods', { body: 'x'.repeat(3 * MEGABYTE), headers: json }, 413],
    ['another media type', '/goods', { body: large, headers: { 'content-type': 'text/plain' } }, 415],
    ['no media type', '/goods', { body: Buffer.from(large) }, 415],
    ['in chunks', '/goods', { headers: json, duplex: 'half' }, 413],
    ['compressed', '/goods', { body: large, headers: { ...json, 'content-encoding': 'gzip' } }, 415],
    ['to an unknown route', '/nowhere', { body: large, headers: json }, 413],
    ['to a route with a broken escape', '/%zz', { body: large, headers: json }, 400],
    ['in chunks to a route with a broken escape', '/%zz', { headers: json, duplex: 'half' }, 400],
  ])('%s', async (_what, path, init, status) => {
    for (let attempt = 0; attempt < 15; attempt++) {
      const body = 'duplex' in init ? { body: ReadableStream.from(inPieces(large)) } : {};
      const response = await fetch(url + path, { method: 'POST', ...init, ...body } as RequestInit);
      expect([response.status, ((await response.json()) as { status: number }).status]).toEqual([status, status]);
    }
    expect(served).toBe(0);
  });
});

describe('a client that reads only after it has written everything reads the answer too:', () => {
  it.each<[string, string, number]>([
    ['3 MB with its length', head(`Content-Type: application/json\r\nContent-Length: ${large.length}`) + large, 413],
    [
      'one chunk of 3 MB',
      `${head('Content-Type: application/json\r\nTransfer-Encoding: chunked')}${large.length.toString(16)}\r\n${large}\r\n0\r\n\r\n`,
      413,
    ],
    ['3 MB to an unknown route', head(`Content-Length: ${large.length}`, '/nowhere') + large, 404],
    ['3 MB after a broken request line', `GARBAGE\r\n${large}`, 400],
    ['3 MB in one header', `GET / HTTP/1.1\r\nHost: localhost\r\nA: ${large}\r\n\r\n`, 431],
    ['30 MB with its length', head(`Content-Length: ${30 * MEGABYTE}`) + 'x'.repeat(30 * MEGABYTE), 415],
  ])('%s', async (_what, text, status) => {
    for (let attempt = 0; attempt < 2; attempt++) {
      const connection = await connectRaw(url);
      await new Promise((written) => connection.socket.write(text, written));
      const received = await connection.closed;
      expect([readStatuses(received), connection.error()]).toEqual([[status], undefined]);
      expect(readProblem(received).status).toBe(status);
    }
  });
});

it('a client that never stops sending is cut off, and what it sends after a refused body is no request', async () => {
  const connection = await connectRaw(url);
  connection.write(head(`Content-Type: application/json\r\nContent-Length: ${2 * MEGABYTE}`));
  connection.write(`${'x'.repeat(2 * MEGABYTE)}`);
  const next = `${head('Content-Type: application/json\r\nContent-Length: 11')}{"sku":"x"}`;
  const closed = new Promise<void>((resolve) => connection.socket.once('close', () => resolve()));
  const more = () => {
    if (!connection.socket.destroyed) connection.socket.write(next.repeat(2_000), more);
  };
  more();
  await closed;
  expect(readStatuses(connection.received())).toEqual([413]);
  expect(served).toBe(0);
});

it('a client that keeps a refused connection open does not hold up the stop', async () => {
  const connection = await connectRaw(url);
  connection.write(head(`Content-Type: application/json\r\nContent-Length: ${3 * MEGABYTE}`));
  expect(readStatuses(await waitForAnswer(connection))).toEqual([413]);
  const started = Date.now();
  await server.close();
  expect(Date.now() - started).toBeLessThan(7_000);
  connection.socket.destroy();
});

it('a small body that no route reads does not cost the client its answer or its connection’s end', async () => {
  for (const method of ['GET', 'HEAD', 'DELETE', 'OPTIONS', 'PROPFIND']) {
    const text = `${method} /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}`;
    const connection = await connectRaw(url);
    connection.write(text);
    expect(readStatuses(await waitForAnswer(connection)), method).toEqual([404]);
    connection.socket.destroy();
  }
});

describe('Expect: 100-continue', () => {
  it.each<[string, string, number]>([
    ['3 MB', `Content-Type: application/json\r\nContent-Length: ${3 * MEGABYTE}`, 413],
    ['a compressed body', 'Content-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: 30', 415],
    ['another media type', 'Content-Type: text/plain\r\nContent-Length: 30', 415],
  ])('with %s is answered at once, without 100', async (_what, lines, status) => {
    const received = await exchangeRaw(url, head(`${lines}\r\nExpect: 100-continue`));
    expect(readStatuses(received)).toEqual([status]);
    expect(readProblem(received).status).toBe(status);
  });

  it('with a body that is read gets 100 and then its answer', async () => {
    const connection = await connectRaw(url);
    connection.write(
      head('Content-Type: application/json\r\nContent-Length: 11\r\nExpect: 100-continue\r\nConnection: close'),
    );
    expect(readStatuses(await waitForAnswer(connection))).toEqual([100]);
    connection.write('{"sku":"x"}');
    expect(readStatuses(await connection.closed)).toEqual([100, 200]);
  });

  it('by Node’s own client with 3 MB is read as 413', async () => {
    const status = await new Promise((resolve, reject) => {
      const headers = { ...json, 'content-length': large.length, expect: '100-continue' };
      const request = httpRequest(`${url}/goods`, { method: 'POST', headers }, (response) => {
        response.resume();
        resolve(response.statusCode);
        request.destroy();
      });
      request.on('continue', () => reject(new Error('100 Continue')));
      request.on('error', reject);
      request.flushHeaders();
    });
    expect(status).toBe(413);
  });

  it('of something else is answered with 417', async () => {
    const received = await exchangeRaw(url, head('Content-Length: 2\r\nExpect: goods'));
    expect([readStatuses(received), readProblem(received).status]).toEqual([[417], 417]);
  });
});

describe('codings', () => {
  it.each(['gzip', 'GZIP', 'br', 'gzip, identity', 'x'])('of the content %s is answered with 415', async (coding) => {
    const response = await fetch(`${url}/goods`, {
      method: 'POST',
      headers: { ...json, 'content-encoding': coding },
      body: gzipSync('{"sku":"x"}'),
    });
    expect([response.status, response.headers.get('accept-encoding')]).toEqual([415, 'identity']);
    expect(await response.json()).toMatchObject({ status: 415, errors: [{ field: 'headers.content-encoding' }] });
  });

  it('of identity are none', async () => {
    const headers = { ...json, 'content-encoding': 'identity' };
    expect((await fetch(`${url}/goods`, { method: 'POST', headers, body: '{"sku":"x"}' })).status).toBe(200);
  });

  it('of the transfer other than chunked are answered with 501', async () => {
    const text = head('Content-Type: application/json\r\nTransfer-Encoding: gzip, chunked\r\nConnection: close');
    const received = await exchangeRaw(url, `${text}b\r\n{"sku":"x"}\r\n0\r\n\r\n`);
    expect([readStatuses(received), served]).toEqual([[501], 0]);
  });
});
