// Connections of clients that are slow, silent, odd or hostile: each request is answered once or its connection is ended,
// in bounded time, and nothing of it stays in memory.

import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { createHttpServer, type HttpServer } from '#service/http-server.ts';
import { createMetrics } from '#service/metrics.ts';
import {
  connectRaw,
  exchangeRaw,
  type RawConnection,
  readProblem,
  readStatuses,
} from '../../../support/network/raw-http.ts';
import { createLogLines, type LogLine } from '../../../support/process/log-lines.ts';
import { waitFor } from '../../../support/wait.ts';

/** More than the kernel's buffers take. */
const LARGE_BYTES = 16 * 1024 * 1024;

let server: HttpServer;
let url: string;
let served: unknown[];
let lines: LogLine[];
const metrics = { current: createMetrics('test') };

beforeEach(async () => {
  served = [];
  const log = createLogLines();
  lines = log.lines;
  metrics.current = createMetrics('test');
  server = await createHttpServer({
    service: 'test',
    host: '127.0.0.1',
    port: 0,
    logger: log.logger,
    metrics: metrics.current,
    readiness: () => ({ ready: true, body: {} }),
    limits: { headersMs: 1_500, requestMs: 2_000, answerMs: 2_500 },
  });
  const body = z.strictObject({ sku: z.string().regex(/^[a-z]+$/) });
  const headers = z.looseObject({
    'idempotency-key': z
      .string()
      .regex(/^[\x21-\x7e]{1,255}$/)
      .optional(),
  });
  server.app.post('/goods', { schema: { body, headers } }, ({ body, headers }) => {
    served.push([body.sku, headers['idempotency-key']]);
    return { ok: true };
  });
  const large = Buffer.alloc(LARGE_BYTES, 'x');
  server.app.get('/large', () => large);
  url = await server.listen();
});
afterEach(() => server.close());

const post = (lines: string[], body = '{"sku":"tea"}', length = String(body.length)) =>
  `${[
    'POST /goods HTTP/1.1',
    'Host: localhost',
    'Content-Type: application/json',
    `Content-Length: ${length}`,
    ...lines,
  ].join('\r\n')}\r\n\r\n${body}`;
const chunked = (body: string) =>
  `POST /goods HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n${body}`;
const countConnections = () =>
  new Promise<number>((resolve, reject) =>
    server.app.server.getConnections((error, count) => (error ? reject(error) : resolve(count))),
  );
const readUnread = async () =>
  Number(/^tillstream_http_unread_answers_total (\d+)/m.exec(await metrics.current.render())?.[1]);

describe('a request that does not arrive in time is answered with 408, and its connection ends:', () => {
  async function trickle(text: string, repeated: string): Promise<RawConnection> {
    const connection = await connectRaw(url);
    connection.write(text);
    const timer = setInterval(() => connection.write(repeated), 20);
    connection.socket.once('close', () => clearInterval(timer));
    await connection.closed;
    clearInterval(timer);
    return connection;
  }
  const cases = [
    ['headers, one after the other', 'GET /large HTTP/1.1\r\n', 'A: b\r\n'],
    ['a request line, byte by byte', 'GET /', 'a'],
    ['a body, byte by byte', post([], '', '1000'), ' '],
    [
      'a body in chunks',
      'POST /goods HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n',
      '1\r\n \r\n',
    ],
    [
      'a body that no route reads',
      'POST /no HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n',
      ' ',
    ],
    ['nothing at all', '', ''],
  ];
  it('headers or a body, trickled to a route or to none, or never begun', async () => {
    const started = Date.now();
    const trickled = cases.map(async ([what = '', text = '', repeated = '']) => {
      const received = (await trickle(text, repeated)).received();
      expect(readStatuses(received), what).toEqual([408]);
      expect(readProblem(received)).toMatchObject({ status: 408, title: 'Request Timeout' });
      expect(readProblem(received).detail).toMatch(/within 10 seconds, all of it within 30/);
    });
    await Promise.all(trickled);
    expect(Date.now() - started).toBeLessThan(10_000);
    expect([served, lines.filter(({ level }) => level === 'error')]).toEqual([[], []]);
  });
});

describe('headers', () => {
  it('of 20 kB are answered with 431, of 15 kB with what the route answers', async () => {
    const received = await exchangeRaw(url, post([`A: ${'a'.repeat(20_000)}`]));
    expect([readStatuses(received), readProblem(received).status]).toEqual([[431], 431]);
    expect(readStatuses(await exchangeRaw(url, post([`A: ${'a'.repeat(15_000)}`, 'Connection: close'])))).toEqual([
      200,
    ]);
  });

  it.each<[string, string, number]>([
    ['a length of 20 digits', post([], '', '99999999999999999999'), 400],
    ['a length beyond 2^53', post([], '', '9007199254740993'), 413],
    ['a negative length', post([], '', '-1'), 400],
    ['a length in hex', post([], '', '0x10'), 400],
    ['two lengths', post(['Content-Length: 3']), 400],
    ['a length beside chunks', post(['Transfer-Encoding: chunked']), 400],
    ['a key with a bare carriage return', post(['Idempotency-Key: a\rb']), 400],
    ['a key folded over two lines', post(['Idempotency-Key: a\r\n b']), 400],
    ['a key with a NUL', post(['Idempotency-Key: a\0b']), 400],
    ['a key with a space', post(['Idempotency-Key: a b', 'Connection: close']), 400],
    ['an empty key', post(['Idempotency-Key:', 'Connection: close']), 400],
    ['a key beyond ASCII', post(['Idempotency-Key: \xe9', 'Connection: close']), 400],
    ['the same key twice', post(['Idempotency-Key: a', 'Idempotency-Key: a', 'Connection: close']), 400],
    ['two hosts', 'GET /health/live HTTP/1.1\r\nHost: localhost\r\nHost: y\r\nConnection: close\r\n\r\n', 400],
    ['two media types', post(['Content-Type: text/plain', 'Connection: close']), 400],
    ['chunks in chunks', post(['Transfer-Encoding: chunked, chunked']), 400],
    ['chunk extensions of 20 kB', chunked(`b;${'a'.repeat(20_000)}\r\n{"sku":"x"}\r\n0\r\n\r\n`), 413],
    ['trailers of 20 kB', chunked(`d\r\n{"sku":"tea"}\r\n0\r\nA: ${'a'.repeat(20_000)}\r\n\r\n`), 431],
    ['a chunk of 2^72 bytes', chunked('ffffffffffffffffff\r\nabc'), 400],
    ['lines that end in LF', 'GET /health/live HTTP/1.1\nHost: localhost\n\n', 400],
    ['no host', 'GET /health/live HTTP/1.1\r\nConnection: close\r\n\r\n', 400],
    ['a header name with a space', 'GET / HTTP/1.1\r\nHost : x\r\n\r\n', 400],
    ['HTTP/2 without an upgrade', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 400],
    ['a TLS greeting', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', 400],
    ['a method that does not exist', 'BUY /goods HTTP/1.1\r\nHost: localhost\r\n\r\n', 400],
    ['a tunnel', 'CONNECT x:1 HTTP/1.1\r\nHost: localhost\r\n\r\n', 501],
  ])('with %s are answered with a problem, and nothing is served', async (_what, text, status) => {
    const received = await exchangeRaw(url, Buffer.from(text, 'latin1'));
    expect(readStatuses(received), received).toEqual([status]);
    expect(readProblem(received).status).toBe(status);
    expect(served).toEqual([]);
  });

  it('are all read, however many: a key behind 3,500 others counts', async () => {
    const many = Array.from({ length: 3_500 }, () => 'a:');
    expect(readStatuses(await exchangeRaw(url, post([...many, 'Idempotency-Key: k', 'Connection: close'])))).toEqual([
      200,
    ]);
    expect(served).toEqual([['tea', 'k']]);
  });

  it('of HTTP/1.0 need no host', async () => {
    expect(await exchangeRaw(url, 'GET /health/live HTTP/1.0\r\n\r\n')).toMatch(/^HTTP\/1\.1 200 /);
  });

  it('that inject a second header or request through a key reach no route', async () => {
    const injected = post(['Idempotency-Key: a\r\nX-Injected: 1', 'Connection: close']);
    expect(readStatuses(await exchangeRaw(url, injected))).toEqual([200]);
    expect(served).toEqual([['tea', 'a']]);
  });
});

describe('pipelined requests', () => {
  it('are answered in their sequence, the broken one last', async () => {
    const text = `${post([])}HEAD /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n${post([], '{"sku":7}')}BROKEN\r\n\r\n${post([])}`;
    const received = await exchangeRaw(url, text);
    expect(readStatuses(received)).toEqual([200, 200, 400, 400]);
    expect(served).toEqual([['tea', undefined]]);
  });

  it('behind one that closes the connection are not served', async () => {
    const received = await exchangeRaw(url, post(['Connection: close']) + post([]) + post([]));
    expect([readStatuses(received), served.length]).toEqual([[200], 1]);
  });

  it('behind a body that is too large are not served', async () => {
    const refused = post([], 'x'.repeat(2 * 1024 * 1024));
    expect(readStatuses(await exchangeRaw(url, refused + post([])))).toEqual([413]);
    expect(served).toEqual([]);
  });
});

describe('answers that nobody reads', () => {
  it('end with their connections and are counted, 30 at a time, and others are served meanwhile', async () => {
    const silent = await Promise.all(Array.from({ length: 30 }, () => connectRaw(url)));
    for (const { socket } of silent) {
      socket.pause();
      socket.write('GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n'.repeat(3));
    }
    expect((await fetch(`${url}/health/live`)).status).toBe(200);
    await waitFor('the connections to end', async () => (await countConnections()) <= 1);
    expect(await readUnread()).toBeGreaterThanOrEqual(30);
    for (const { socket } of silent) socket.destroy();
  });

  it('but only too slowly end too', async () => {
    const slow = await connectRaw(url);
    slow.socket.pause();
    const closed = new Promise<void>((resolve) => slow.socket.once('close', () => resolve()));
    slow.write('GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n');
    const timer = setInterval(() => slow.socket.read(1_000), 20);
    await waitFor('the connection to end', async () => (await countConnections()) === 0);
    clearInterval(timer);
    slow.socket.resume();
    await closed;
    expect(await readUnread()).toBe(1);
  });

  it('in parts are not cut off while the client reads', async () => {
    expect((await (await fetch(`${url}/large`)).text()).length).toBe(LARGE_BYTES);
    expect(await readUnread()).toBe(0);
  });
});

describe('JSON', () => {
  const deep = (open: string, close: string, inner = '1') => open.repeat(100_000) + inner + close.repeat(100_000);
  it.each<[string, string, number?]>([
    ['100,000 arrays in one another', deep('[', ']')],
    ['100,000 objects in one another', deep('{"sku":', '}')],
    ['arrays that never end', '['.repeat(500_000)],
    ['a NUL in text', '{"sku":"\\u0000"}'],
    ['half of a surrogate pair', '{"sku":"\\ud800"}'],
    ['half of a surrogate pair as a field', '{"sku":"a","\\udfff":1}'],
    ['bytes that are no UTF-8', '{"sku":"\xff"}'],
    ['a mark of UTF-16', '\xff\xfe{\0}\0'],
    ['__proto__', '{"sku":"a","__proto__":{"x":1}}'],
    ['__proto__ in escapes', '{"sku":"a","\\u005f_proto__":{"x":1}}'],
    ['constructor.prototype', '{"sku":"a","constructor":{"prototype":{"x":1}}}'],
    ['toString', '{"sku":"a","toString":1}'],
    ['a huge number', `{"sku":${'9'.repeat(100_000)}}`],
    ['a field with a name of 200 kB', `{"sku":"a","${'n'.repeat(200_000)}":1}`],
    ['nothing', ''],
    ['blanks', ' \r\n '],
    ['a comment', '{"sku":"a"}//'],
    ['two documents', '{"sku":"a"}{"sku":"b"}'],
  ])('with %s is answered with 400, in few words, and nothing is served', async (_what, body) => {
    const response = await fetch(`${url}/goods`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: Buffer.from(body, 'latin1'),
    });
    const text = await response.text();
    expect([response.status, JSON.parse(text).status]).toEqual([400, 400]);
    expect(text.length).toBeLessThan(2_000);
    expect(served).toEqual([]);
    expect(Object.keys(Object.prototype)).toEqual([]);
  });

  it('with the same field twice counts the last one, as JSON.parse does', async () => {
    expect(readStatuses(await exchangeRaw(url, post(['Connection: close'], '{"sku":"7","sku":"tea"}')))).toEqual([200]);
    expect(served).toEqual([['tea', undefined]]);
  });
});
