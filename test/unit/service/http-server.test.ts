import { connect } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { markNothingSent } from '#service/http/lost-answer.ts';
import type { HttpServer, HttpServerOptions } from '#service/http-server.ts';
import { createHttpServer, PortTakenError } from '#service/http-server.ts';
import { createMetrics } from '#service/metrics.ts';
import { ProblemError, problemResponse } from '#service/problem.ts';
import { createLogLines, type LogLine } from '../../support/process/log-lines.ts';

const servers: HttpServer[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close();
});

const identifier = z.string().regex(/^[A-Za-z0-9._:-]{1,64}$/);
const orderSchema = {
  params: z.object({ userId: identifier }),
  querystring: z.object({ limit: z.coerce.number().int().min(1).optional() }),
  headers: z.object({ 'idempotency-key': z.string().min(3).optional() }),
  body: z.strictObject({ items: z.array(z.object({ quantity: z.int().min(1) })).min(1) }),
  response: { 201: z.object({ ok: z.boolean() }), 404: problemResponse('No such user') },
};

/** A server with one route that validates everything, and one that throws what the test gives it. */
async function createTestServer(
  options: Partial<HttpServerOptions> & { thrown?: unknown } = {},
): Promise<HttpServer & { lines: LogLine[]; received: unknown[] }> {
  const { logger, lines } = createLogLines();
  const received: unknown[] = [];
  const server = await createHttpServer({
    service: 'test',
    host: '127.0.0.1',
    port: 0,
    logger,
    metrics: createMetrics('test'),
    readiness: () => ({ ready: true, body: { database: 'reachable' } }),
    docs: { title: 'Test', description: 'For tests' },
    ...options,
  });
  server.app.post('/users/:userId/orders', { schema: orderSchema }, async (request, reply) => {
    received.push(request.body);
    return reply.code(201).send({ ok: true });
  });
  server.app.get('/throw', () => {
    throw options.thrown;
  });
  server.app.post('/payment', () => ({ paid: true }));
  servers.push(server);
  return Object.assign(server, { lines, received });
}

describe('with a port for operations', () => {
  const paths = ['/health/live', '/health/ready', '/health/pipeline', '/metrics', '/docs/json'];

  test('health, metrics and the description are there, and the port of the API has none of them', async () => {
    const server = await createTestServer({ operations: { host: '127.0.0.1', port: 0 } });
    const url = await server.listen();
    const { operationsUrl } = server.lines.find(({ event }) => event === 'service.listening')!;
    for (const path of paths) {
      expect((await fetch(operationsUrl + path)).status, path).toBe(200);
      expect((await fetch(url + path)).status, path).toBe(404);
    }
    expect((await fetch(`${operationsUrl}/payment`, { method: 'POST' })).status).toBe(404);
    expect((await fetch(`${url}/payment`, { method: 'POST' })).status).toBe(200);
    const { paths: described } = (await (await fetch(`${operationsUrl}/docs/json`)).json()) as { paths: object };
    expect(Object.keys(described)).toContain('/users/{userId}/orders');
    expect(await (await fetch(`${operationsUrl}/metrics`)).text()).toContain('route="/payment"');
  });

  test('a port that is taken is named by its variable', async () => {
    const taken = await createTestServer();
    const port = Number(new URL(await taken.listen()).port);
    const server = await createTestServer({ operations: { host: '127.0.0.1', port } });
    await expect(server.listen()).rejects.toThrow(/OPERATIONS_PORT/);
  });
});

const json = { 'content-type': 'application/json' };
const good = {
  method: 'POST',
  url: '/users/u-1/orders',
  headers: json,
  payload: '{"items":[{"quantity":1}]}',
} as const;

/** Sends it; checks that the answer is a problem document of that status, and that no handler ran. */
async function expectProblem(request: object, status: number) {
  const server = await createTestServer();
  const response = await server.app.inject({ ...good, ...request });
  expect(response.headers['content-type']).toBe('application/problem+json; charset=utf-8');
  expect(response.statusCode).toBe(status);
  expect(response.json()).toMatchObject({ type: 'about:blank', title: expect.any(String), status });
  expect(server.received).toEqual([]);
  return response.json();
}

test('a request that fits its schema is served', async () => {
  const { app, received } = await createTestServer();
  const response = await app.inject(good);
  expect([response.statusCode, response.json()]).toEqual([201, { ok: true }]);
  expect(received).toEqual([{ items: [{ quantity: 1 }] }]);
});

describe('a request that does not fit is answered with 400 and the path of the field', () => {
  test.each<[string, object, string[]]>([
    ['four NUL characters as an id', { url: '/users/%00%00%00%00/orders' }, ['params.userId']],
    ['NUL inside an id', { url: '/users/a%00b/orders' }, ['params.userId']],
    ['an id of 65 characters', { url: `/users/${'a'.repeat(65)}/orders` }, ['params.userId']],
    ['an id of 1,000 characters', { url: `/users/${'a'.repeat(1000)}/orders` }, ['params.userId']],
    ['an escaped slash as an id', { url: '/users/%2F/orders' }, ['params.userId']],
    ['a query', { url: '/users/u/orders?limit=0' }, ['query.limit']],
    ['a header', { headers: { ...json, 'idempotency-key': 'x' } }, ['headers.idempotency-key']],
    ['a nested number', { payload: '{"items":[{"quantity":1},{"quantity":1.5}]}' }, ['body.items.1.quantity']],
    ['a number that is text', { payload: '{"items":[{"quantity":"1"}]}' }, ['body.items.0.quantity']],
    ['a number of 1e400', { payload: '{"items":[{"quantity":1e400}]}' }, ['body.items.0.quantity']],
    ['an unknown field', { payload: '{"items":[{"quantity":1}],"a":1,"b":2}' }, ['body.a', 'body.b']],
    ['no items', { payload: '{"items":[]}' }, ['body.items']],
    ['null', { payload: 'null' }, ['body']],
    ['an array', { payload: '[]' }, ['body']],
    ['an empty body', { payload: '' }, ['body']],
    ['no body and no media type', { payload: undefined, headers: {} }, ['body']],
  ])('%s', async (_name, request, fields) => {
    const problem = await expectProblem(request, 400);
    expect(problem.errors.map(({ field }: { field: string }) => field)).toEqual(fields);
    for (const field of fields) expect(problem.detail).toContain(field);
  });

  test('a body that is wrong in thousands of places gets a short answer', async () => {
    const payload = JSON.stringify({ items: Array.from({ length: 20_000 }, () => ({})) });
    expect((await expectProblem({ payload }, 400)).errors).toHaveLength(20);
  });
});

describe('a request that can not be read is answered with a problem', () => {
  test.each<[string, object, number, string?]>([
    ['malformed JSON', { payload: '{"items":[{"quantity"' }, 400, 'body'],
    ['a number that JSON does not have', { payload: '{"items":[{"quantity":NaN}]}' }, 400, 'body'],
    ['a NUL as the body', { payload: '\0' }, 400, 'body'],
    ['a body that is not UTF-8', { payload: Buffer.from('{"items":[\xff', 'latin1') }, 400, 'body'],
    ['a __proto__ in the body', { payload: '{"__proto__":{"x":1},"items":[{"quantity":1}]}' }, 400, 'body'],
    ['a length that is not the body’s', { headers: { ...json, 'content-length': '3' } }, 400, 'body'],
    ['a body of 2 MB', { payload: `{"items":[],"pad":"${'x'.repeat(2_000_000)}"}` }, 413, 'body'],
    ['a body of text', { headers: { 'content-type': 'text/plain' }, payload: 'x' }, 415, 'headers.content-type'],
    [
      'a form',
      { headers: { 'content-type': 'application/x-www-form-urlencoded' }, payload: 'a=b' },
      415,
      'headers.content-type',
    ],
    ['an unknown path', { url: '/nowhere' }, 404],
    ['another method', { method: 'DELETE' }, 404],
    ['a broken escape', { url: '/users/%zz/orders' }, 400, 'params'],
    ['a path beyond every limit', { url: `/users/${'a'.repeat(3000)}/orders` }, 414, 'params'],
  ])('%s', async (_name, request, status, field) => {
    const problem = await expectProblem(request, status);
    expect(problem.errors?.[0].field).toBe(field);
    expect(problem.detail.length).toBeLessThanOrEqual(200);
    expect(problem.detail).not.toMatch(/quantity|FST_/);
  });

  test('bytes that are no HTTP', async () => {
    const url = new URL(await (await createTestServer()).listen());
    const answer = await new Promise<string>((resolve, reject) => {
      const socket = connect(Number(url.port), url.hostname, () => socket.write('hello\r\n\r\n'));
      let received = '';
      socket.on('data', (data) => {
        received += data;
      });
      socket.on('end', () => resolve(received)).on('error', reject);
    });
    const [head, body] = answer.split('\r\n\r\n');
    expect(head).toMatch(/^HTTP\/1\.1 400 Bad Request\r\n/);
    expect(head).toContain(`Content-Length: ${body!.length}`);
    expect(JSON.parse(body!)).toMatchObject({ status: 400, title: 'Bad Request' });
  });
});

test('a POST that needs no body may have the media type by habit, and none', async () => {
  const { app } = await createTestServer();
  for (const headers of [json, {}]) {
    expect((await app.inject({ method: 'POST', url: '/payment', headers })).json()).toEqual({ paid: true });
  }
});

describe('what a route throws', () => {
  const inject = async (thrown: unknown) => {
    const server = await createTestServer({ thrown });
    return { lines: server.lines, response: await server.app.inject('/throw') };
  };

  test('a ProblemError is answered as it is, headers included', async () => {
    const errors = [{ field: 'body.quantity', message: 'is more than there is' }];
    const { response, lines } = await inject(
      new ProblemError({ status: 422, title: 'T', detail: 'D', type: 'urn:t', errors, headers: { 'x-a': 'b' } }),
    );
    expect(response.statusCode).toBe(422);
    expect(response.headers).toMatchObject({ 'content-type': expect.stringContaining('problem+json'), 'x-a': 'b' });
    expect(response.json()).toEqual({ status: 422, title: 'T', detail: 'D', type: 'urn:t', errors });
    expect(lines).toEqual([]);
  });

  test.each([
    ['a refused connection', Object.assign(new Error('connect ECONNREFUSED 10.0.0.1:5432'), { code: 'ECONNREFUSED' })],
    ['a server that shuts down', Object.assign(new Error('terminating'), { code: '57P01' })],
    ['a statement that took too long', Object.assign(new Error('canceling'), { code: '57014' })],
    ['a serialization failure', Object.assign(new Error('could not serialize'), { code: '40001' })],
    ['a deadlock', Object.assign(new Error('x'), { cause: Object.assign(new Error('x'), { code: '40P01' }) })],
    ['a pool without a free connection', Object.assign(new Error('x'), { code: 'DATABASE_ACQUIRE_TIMEOUT' })],
  ])('%s is answered with 503 and Retry-After, and logged as a warning', async (_name, thrown) => {
    const { response, lines } = await inject(thrown);
    expect(response.statusCode).toBe(503);
    expect(response.headers['retry-after']).toMatch(/^[1-9]\d*$/);
    expect(response.body).not.toMatch(/10\.0\.0\.1|5432|terminating|canceling|serialize/);
    expect(lines).toMatchObject([{ level: 'warn', event: 'http.request-failed', status: 503, route: '/throw' }]);
  });

  test.each([
    ['a connection that broke', Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' }), 504],
    ['a server that shuts down', Object.assign(new Error('terminating'), { code: '57P01' }), 504],
    [
      'a crash of the server',
      Object.assign(new Error('x'), { cause: new Error('Connection terminated unexpectedly') }),
      504,
    ],
    ['an answer that did not come', new Error('Query read timeout'), 504],
    ['a refused connection', Object.assign(new Error('x'), { code: 'ECONNREFUSED' }), 503],
    ['a reset while connecting', markNothingSent(Object.assign(new Error('x'), { code: 'ECONNRESET' })), 503],
    ['a server that starts up', Object.assign(new Error('x'), { code: '57P03' }), 503],
    ['a statement that took too long', Object.assign(new Error('x'), { code: '57014' }), 503],
    ['a lock that was not got', Object.assign(new Error('x'), { code: '55P03' }), 503],
    ['a full disk', Object.assign(new Error('x'), { code: '53100' }), 503],
    ['a deadlock', Object.assign(new Error('x'), { code: '40P01' }), 503],
    ['a server that became a standby', Object.assign(new Error('x'), { code: '25006' }), 503],
  ])('%s under a request that writes: 504 if it may have been stored, else 503', async (_name, thrown, status) => {
    const server = await createTestServer({ thrown });
    server.app.post('/throw', { config: { repeating: { kind: 'by-key', readBack: 'GET /x' } } }, () => {
      throw thrown;
    });
    const unkeyed = await server.app.inject({ method: 'POST', url: '/throw' });
    const keyed = await server.app.inject({ method: 'POST', url: '/throw', headers: { 'idempotency-key': 'k' } });
    expect([unkeyed.statusCode, keyed.statusCode]).toEqual([status, status]);
    expect(keyed.headers['retry-after']).toBe('1');
    if (status === 503) {
      expect(unkeyed.json().detail).toContain('Nothing was stored');
      return;
    }
    // Nobody is invited to repeat by itself what would be carried out twice.
    expect([unkeyed.headers['retry-after'], unkeyed.json().title]).toEqual([undefined, 'Outcome unknown']);
    expect(unkeyed.json().detail).toContain('read back with GET /x');
    expect(keyed.json().detail).toContain('same Idempotency-Key');
    expect(server.lines).toMatchObject([
      { level: 'warn', status: 504 },
      { level: 'warn', status: 504 },
    ]);
  });

  test.each([
    ['a defect', new TypeError('secret is not a function')],
    ['an error of the library with a status', Object.assign(new Error('secret'), { statusCode: 404 })],
    ['a constraint that was hit', Object.assign(new Error('secret'), { code: '23505', detail: 'secret' })],
    ['text', 'secret'],
  ])('%s is answered with 500 that tells nothing, and logged', async (_name, thrown) => {
    const { response, lines } = await inject(thrown);
    expect(response.statusCode).toBe(500);
    expect(response.json()).toEqual({ type: 'about:blank', title: 'Internal Server Error', status: 500 });
    expect(lines).toMatchObject([{ level: 'error', event: 'http.request-failed', status: 500, method: 'GET' }]);
  });
});

test('an answer that breaks its own schema is a defect, and tells nothing', async () => {
  const { app, lines } = await createTestServer();
  app.get('/odd', { schema: { response: { 200: z.object({ a: z.string() }) } } }, () => ({ a: 5 }) as never);
  const response = await app.inject('/odd');
  expect([response.statusCode, response.json()]).toEqual([
    500,
    expect.not.objectContaining({ detail: expect.anything() }),
  ]);
  expect(lines).toMatchObject([{ level: 'error', event: 'http.request-failed' }]);
});

describe('health', () => {
  test('liveness is 200 whatever readiness says', async () => {
    const { app } = await createTestServer({
      readiness: () => {
        throw new Error('no');
      },
    });
    expect((await app.inject('/health/live')).statusCode).toBe(200);
    expect((await app.inject('/health/ready')).statusCode).toBe(500);
  });

  test.each([
    [true, 200],
    [false, 503],
  ])('readiness of %s is %i with the body, in which bigints are text', async (ready, status) => {
    const readiness = async () => ({ ready, body: { throughLsn: 2n ** 63n, nested: { halted: null } } });
    const response = await (await createTestServer({ readiness })).app.inject('/health/ready');
    expect(response.statusCode).toBe(status);
    expect(response.headers['content-type']).toMatch(/^application\/json/);
    expect(response.json()).toEqual({ throughLsn: '9223372036854775808', nested: { halted: null } });
  });
});

test('requests are measured by method, route and status, with unknown paths as one route', async () => {
  const { app } = await createTestServer();
  await app.inject(good);
  await app.inject({ ...good, url: '/users/u-2/orders' });
  await app.inject({ ...good, payload: '{' });
  await app.inject('/a');
  await app.inject('/b');
  const metrics = (await app.inject('/metrics')).body;
  const count = (labels: string) => `tillstream_http_request_seconds_count{${labels}}`;
  expect(metrics).toContain(`${count('method="POST",route="/users/:userId/orders",status="201"')} 2\n`);
  expect(metrics).toContain(`${count('method="POST",route="/users/:userId/orders",status="400"')} 1\n`);
  expect(metrics).toContain(`${count('method="GET",route="none",status="404"')} 2\n`);
});

describe('the OpenAPI description', () => {
  test('lists the problems of a route, its own and the common ones, as problem documents', async () => {
    const { app } = await createTestServer();
    const document = (await app.inject('/docs/json')).json();
    const { responses } = document.paths['/users/{userId}/orders'].post;
    expect(Object.keys(responses)).toEqual(['201', '400', '404', '408', '413', '415', '500', '503', '504']);
    expect(responses[404]).toEqual({
      description: 'No such user',
      content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } },
    });
    expect(Object.keys(document.components.schemas)).toEqual(['Problem']);
    expect(document.components.schemas.Problem.required).toEqual(['type', 'title', 'status']);
    expect(document.info).toMatchObject({ title: 'Test' });
  });

  test('is there for people, and only where it was asked for', async () => {
    expect((await (await createTestServer()).app.inject('/docs')).statusCode).toBe(200);
    const without = await createHttpServer({
      service: 'test',
      host: '127.0.0.1',
      port: 0,
      logger: createLogLines().logger,
      metrics: createMetrics('test'),
      readiness: () => ({ ready: true, body: {} }),
    });
    servers.push(without);
    expect((await without.app.inject('/docs')).statusCode).toBe(404);
  });
});

describe('listening', () => {
  test('ends with a URL that answers, logged once', async () => {
    const server = await createTestServer();
    const url = await server.listen();
    expect((await fetch(`${url}/health/live`)).status).toBe(200);
    expect(server.lines).toMatchObject([{ event: 'service.listening', url }]);
  });

  test('on a port that is taken fails with the remedy', async () => {
    const { port } = new URL(await (await createTestServer()).listen());
    const second = await createTestServer({ port: Number(port) });
    await expect(second.listen()).rejects.toThrow(PortTakenError);
    await expect(second.listen()).rejects.toThrow(`127.0.0.1:${port} is in use: stop what listens there, or set PORT.`);
  });

  test('stops after the requests that run, and without waiting for idle connections', async () => {
    const server = await createTestServer();
    const { promise: running, resolve: nowRunning } = Promise.withResolvers<void>();
    const { promise: finish, resolve: nowFinish } = Promise.withResolvers<void>();
    server.app.get('/slow', async () => {
      nowRunning();
      await finish;
      return { done: true };
    });
    const url = await server.listen();
    await (await fetch(`${url}/health/live`)).text();
    const slow = fetch(`${url}/slow`).then((response) => response.json());
    await running;
    let closed = false;
    const closing = server.close().then(() => {
      closed = true;
    });
    await new Promise((resolve) => setImmediate(resolve));
    expect(closed).toBe(false);
    nowFinish();
    expect(await slow).toEqual({ done: true });
    await closing;
    await expect(fetch(url)).rejects.toThrow();
  });

  test('is not ready first, and accepts requests until the delay is over', async () => {
    const server = await createTestServer({ shutdownDelayMs: 400 });
    const url = await server.listen();
    expect((await fetch(`${url}/health/ready`)).status).toBe(200);
    const startMs = performance.now();
    const closing = server.close();
    const ready = await fetch(`${url}/health/ready`);
    expect({ status: ready.status, body: await ready.json() }).toEqual({ status: 503, body: { state: 'stopping' } });
    expect((await fetch(`${url}/health/live`)).status).toBe(200);
    const paid = await fetch(`${url}/payment`, { method: 'POST' });
    expect([paid.status, paid.headers.get('connection')]).toEqual([200, 'close']);
    await closing;
    expect(performance.now() - startMs).toBeGreaterThanOrEqual(399);
    await expect(fetch(`${url}/health/live`)).rejects.toThrow();
  });

  test('stops although clients are silent, or stop half-way through a request', async () => {
    const server = await createTestServer({ drainMs: 300 });
    const url = new URL(await server.listen());
    const ends = ['', 'POST /payment HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nab'].map(
      (sent) =>
        new Promise<void>((resolve) => {
          const socket = connect(Number(url.port), url.hostname, () => socket.write(sent));
          socket.on('error', () => undefined).on('close', () => resolve());
          socket.resume();
        }),
    );
    expect((await fetch(`${url}health/live`)).status).toBe(200);
    await server.close();
    await Promise.all(ends);
  });
});
