import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { openAccess } from '#service/auth/access.ts';
import { createCartServer } from '../../../cart-sink/cart-api/server.ts';
import type { HttpServer } from '../../../service/http-server.ts';
import { createMetrics } from '../../../service/metrics.ts';
import { createTcpProxy } from '../../support/network/tcp-proxy.ts';
import { type CartDatabase, createCartDatabase, silent } from '../../support/postgres/cart-database.ts';

let carts: CartDatabase;
let server: HttpServer;
let url: string;

beforeAll(async () => {
  carts = await createCartDatabase('cart_api');
  server = await serve();
  url = await server.listen();
});
afterAll(async () => {
  await server.close();
  await carts.cleanUp();
});
beforeEach(() => carts.query('TRUNCATE cart_lines'));

function serve(databaseUrl?: string, isMigrated?: () => boolean): Promise<HttpServer> {
  return createCartServer({
    host: '127.0.0.1',
    port: 0,
    database: carts.connect(databaseUrl),
    logger: silent,
    metrics: createMetrics('cart-sink'),
    readiness: () => ({ ready: true, body: {} }),
    access: openAccess,
    ...(isMigrated && { isMigrated }),
  });
}

interface Answer {
  readonly status: number;
  readonly headers: Headers;
  // biome-ignore lint/suspicious/noExplicitAny: what a server answers is what the tests look at
  readonly body: any;
}

async function ask(method: string, path: string, body?: unknown, base = url): Promise<Answer> {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  const reply = await fetch(base + path, {
    method,
    ...(body !== undefined && { body: text, headers: { 'content-type': 'application/json' } }),
  });
  const answer = await reply.text();
  return { status: reply.status, headers: reply.headers, body: answer === '' ? undefined : JSON.parse(answer) };
}

/** A refusal names the field and leaves nothing stored. */
async function expectRefused(answer: Answer, status: number, field: string): Promise<void> {
  expect(answer.status).toBe(status);
  expect(answer.headers.get('content-type')).toContain('application/problem+json');
  expect(answer.body.status).toBe(status);
  expect(answer.body.errors.map((error: { field: string }) => error.field)).toContain(field);
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const nobodys = '01a20000-0000-7000-8000-000000000009';

describe('a cart', () => {
  it('is empty for a user who never added anything', async () => {
    expect(await ask('GET', '/carts/nobody')).toMatchObject({ status: 200, body: { userId: 'nobody', lines: [] } });
  });

  it('lists what was added, oldest first, and nothing of other users', async () => {
    const tea = await ask('POST', '/carts/ada/lines', { sku: 'tea', quantity: 2 });
    expect(tea.status).toBe(201);
    expect(tea.body).toEqual({
      lineId: expect.stringMatching(UUID),
      sku: 'tea',
      quantity: 2,
      createdAt: expect.any(String),
    });
    expect(Math.abs(Date.parse(tea.body.createdAt) - Date.now())).toBeLessThan(60_000);
    await waitForNextMillisecond();
    const milk = await ask('POST', '/carts/ada/lines', { sku: 'milk', quantity: 1 });
    await ask('POST', '/carts/bob/lines', { sku: 'eggs', quantity: 1 });
    expect((await ask('GET', '/carts/ada')).body).toEqual({ userId: 'ada', lines: [tea.body, milk.body] });
  });

  it('holds one line for each SKU: adding again raises its quantity and keeps its id', async () => {
    const first = await ask('POST', '/carts/ada/lines', { sku: 'tea', quantity: 2 });
    const second = await ask('POST', '/carts/ada/lines', { sku: 'tea', quantity: 3 });
    expect(second).toMatchObject({ status: 201, body: { ...first.body, quantity: 5 } });
    expect((await ask('GET', '/carts/ada')).body.lines).toHaveLength(1);
  });

  it('adds up what many requests add at the same moment', async () => {
    const answers = await Promise.all(
      Array.from({ length: 40 }, () => ask('POST', '/carts/ada/lines', { sku: 'tea', quantity: 2 })),
    );
    expect(answers.every(({ status }) => status === 201)).toBe(true);
    expect((await ask('GET', '/carts/ada')).body.lines).toMatchObject([{ sku: 'tea', quantity: 80 }]);
  });

  it('holds a million of a SKU and not one more', async () => {
    await ask('POST', '/carts/ada/lines', { sku: 'tea', quantity: 999_999 });
    await expectRefused(await ask('POST', '/carts/ada/lines', { sku: 'tea', quantity: 2 }), 422, 'body.quantity');
    expect(await carts.readLines()).toEqual(['ada tea 999999']);
    expect(await ask('POST', '/carts/ada/lines', { sku: 'tea', quantity: 1 })).toMatchObject({
      status: 201,
      body: { quantity: 1_000_000 },
    });
  });
});

describe('a line', () => {
  it('gets another quantity', async () => {
    const { body: line } = await ask('POST', '/carts/ada/lines', { sku: 'tea', quantity: 2 });
    const changed = await ask('PATCH', `/carts/ada/lines/${line.lineId.toUpperCase()}`, { quantity: 7 });
    expect(changed).toMatchObject({ status: 200, body: { ...line, quantity: 7 } });
    expect(await carts.readLines()).toEqual(['ada tea 7']);
  });

  it('is removed once; the SKU added later is a new line', async () => {
    const { body: line } = await ask('POST', '/carts/ada/lines', { sku: 'tea', quantity: 2 });
    expect(await ask('DELETE', `/carts/ada/lines/${line.lineId}`)).toMatchObject({ status: 204, body: undefined });
    await expectRefused(await ask('DELETE', `/carts/ada/lines/${line.lineId}`), 404, 'params.lineId');
    const again = await ask('POST', '/carts/ada/lines', { sku: 'tea', quantity: 2 });
    expect(again.body.lineId).not.toBe(line.lineId);
  });

  it.each(['PATCH', 'DELETE'])('of another user, or that does not exist, is not found by %s', async (method) => {
    const { body: line } = await ask('POST', '/carts/ada/lines', { sku: 'tea', quantity: 2 });
    const body = method === 'PATCH' ? { quantity: 1 } : undefined;
    const others = await ask(method, `/carts/bob/lines/${line.lineId}`, body);
    const missing = await ask(method, `/carts/bob/lines/${nobodys}`, body);
    await expectRefused(others, 404, 'params.lineId');
    expect(missing.body).toEqual(others.body);
    expect(await carts.readLines()).toEqual(['ada tea 2']);
  });
});

describe('a request that is not valid is refused with the field named, and stores nothing', () => {
  const add = '/carts/ada/lines';
  it.each<[string, string, string, unknown, string]>([
    [
      'four NUL characters as the user',
      'POST',
      '/carts/%00%00%00%00/lines',
      { sku: 'tea', quantity: 1 },
      'params.userId',
    ],
    ['a user of 65 characters', 'GET', `/carts/${'a'.repeat(65)}`, undefined, 'params.userId'],
    ['a user with a space', 'GET', '/carts/a%20b', undefined, 'params.userId'],
    ['a user with a slash', 'GET', '/carts/a%2Fb', undefined, 'params.userId'],
    ['a user with a line break at its end', 'GET', '/carts/ada%0A', undefined, 'params.userId'],
    ['NUL characters in the SKU', 'POST', add, { sku: '\0\0\0\0', quantity: 1 }, 'body.sku'],
    ['no SKU', 'POST', add, { quantity: 1 }, 'body.sku'],
    ['an empty SKU', 'POST', add, { sku: '', quantity: 1 }, 'body.sku'],
    ['a SKU that is no text', 'POST', add, { sku: 7, quantity: 1 }, 'body.sku'],
    ['no quantity', 'POST', add, { sku: 'tea' }, 'body.quantity'],
    ['quantity 0', 'POST', add, { sku: 'tea', quantity: 0 }, 'body.quantity'],
    ['quantity -1', 'POST', add, { sku: 'tea', quantity: -1 }, 'body.quantity'],
    ['quantity 1.5', 'POST', add, { sku: 'tea', quantity: 1.5 }, 'body.quantity'],
    ['quantity 1e9', 'POST', add, { sku: 'tea', quantity: 1e9 }, 'body.quantity'],
    ['quantity as text', 'POST', add, { sku: 'tea', quantity: '1' }, 'body.quantity'],
    ['a misspelt field', 'POST', add, { sku: 'tea', quantity: 1, quantitty: 2 }, 'body.quantitty'],
    ['a list as body', 'POST', add, [], 'body'],
    ['a line id that is no UUID', 'PATCH', `${add}/1`, { quantity: 1 }, 'params.lineId'],
    ['a line id of NUL characters', 'DELETE', `${add}/%00%00%00%00`, undefined, 'params.lineId'],
    ['quantity 0 for a line', 'PATCH', `${add}/${nobodys}`, { quantity: 0 }, 'body.quantity'],
    ['quantity 1e9 for a line', 'PATCH', `${add}/${nobodys}`, { quantity: 1e9 }, 'body.quantity'],
  ])('%s', async (_what, method, path, body, field) => {
    await expectRefused(await ask(method, path, body), 400, field);
    expect(await carts.readLines()).toEqual([]);
  });

  it.each([
    ['malformed JSON', '{"sku": "tea", ', 400],
    ['a body of 2 MB', JSON.stringify({ sku: 'a'.repeat(2 * 1024 * 1024), quantity: 1 }), 413],
  ])('%s', async (_what, body, status) => {
    const answer = await ask('POST', add, body);
    expect(answer.status).toBe(status);
    expect(answer.body).toMatchObject({ status, title: expect.any(String) });
    expect(await carts.readLines()).toEqual([]);
  });
});

describe('while the database is away', () => {
  it('requests are answered with 503 and Retry-After, and are served again once it is back', async () => {
    const proxy = await createTcpProxy({ targetPort: Number(new URL(carts.url).port) });
    const through = new URL(carts.url);
    through.port = String(proxy.port);
    const away = await serve(through.href);
    try {
      const base = await away.listen();
      expect((await ask('GET', '/carts/ada', undefined, base)).status).toBe(200);
      proxy.refuse();
      proxy.cut();
      const requests = [
        ask('GET', '/carts/ada', undefined, base),
        ask('POST', '/carts/ada/lines', { sku: 'tea', quantity: 1 }, base),
        ask('PATCH', `/carts/ada/lines/${nobodys}`, { quantity: 1 }, base),
        ask('DELETE', `/carts/ada/lines/${nobodys}`, undefined, base),
      ];
      for (const answer of await Promise.all(requests)) {
        expect(answer.status).toBe(503);
        expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0);
      }
      expect(await carts.readLines()).toEqual([]);
      await proxy.accept();
      expect((await ask('GET', '/carts/ada', undefined, base)).status).toBe(200);
    } finally {
      await away.close();
      proxy.close();
    }
  });

  it('or has not got its tables yet, carts are answered with 503, and liveness with 200', async () => {
    let migrated = false;
    const waiting = await serve(undefined, () => migrated);
    try {
      const base = await waiting.listen();
      const answer = await ask('GET', '/carts/ada', undefined, base);
      expect([answer.status, answer.headers.get('retry-after')]).toEqual([503, '1']);
      expect((await ask('GET', '/health/live', undefined, base)).status).toBe(200);
      migrated = true;
      expect((await ask('GET', '/carts/ada', undefined, base)).status).toBe(200);
    } finally {
      await waiting.close();
    }
  });
});

it('the OpenAPI description names every route of the cart API', async () => {
  const { body } = await ask('GET', '/docs/json');
  expect(Object.keys(body.paths).filter((path) => path.startsWith('/carts'))).toEqual([
    '/carts/{userId}',
    '/carts/{userId}/lines',
    '/carts/{userId}/lines/{lineId}',
  ]);
});

/** Line ids order by their millisecond. */
async function waitForNextMillisecond(): Promise<void> {
  const start = Date.now();
  while (Date.now() <= start) await new Promise((resolve) => setImmediate(resolve));
}
