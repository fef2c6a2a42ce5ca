// The order API over HTTP with its real database: what the contract promises to clients.

import { randomUUIDv7 } from 'node:crypto';
import { request as httpRequest } from 'node:http';
import type pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  connectTo,
  countRows,
  insertItemRow,
  insertOrderRow,
  inTransaction,
} from '../../support/postgres/order-database.ts';
import type { Service } from '../../support/process/service-process.ts';
import { createTestEnvironment, type TestEnvironment } from '../../support/stack/environment.ts';

let environment: TestEnvironment;
let api: Service;
let client: pg.Client;

beforeAll(async () => {
  environment = await createTestEnvironment('order_api');
  api = await environment.startService('order-api');
  await api.waitReady();
  client = await connectTo(environment.env.ORDER_DATABASE_URL);
});
afterAll(async () => {
  await client.end();
  await environment.cleanUp();
});

// biome-ignore lint/suspicious/noExplicitAny: answers are whatever the service says; the tests look into them
type Answer = { status: number; headers: Headers; body: any };

async function call(method: string, path: string, init: { body?: unknown; headers?: Record<string, string> } = {}) {
  const { body, headers } = init;
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  const response = await fetch(`${api.url}${path}`, {
    method,
    headers: { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
    ...(body === undefined ? {} : { body: text }),
  });
  return { status: response.status, headers: response.headers, body: await response.json() } as Answer;
}
const place = (body: unknown, headers: Record<string, string> = {}) => call('POST', '/orders', { body, headers });
const get = (path: string) => call('GET', path);

const item = { sku: 'tea', quantity: 1, unitPriceCents: 499 };
const newUser = () => `user-${randomUUIDv7()}`;

describe('placing an order', () => {
  it('answers 201 with the order, its exact total and its place, and stores just that', async () => {
    const userId = newUser();
    const cartLineId = randomUUIDv7();
    const { status, headers, body } = await place({
      userId,
      items: [
        { sku: 'tea', quantity: 3, unitPriceCents: 499, cartLineId: cartLineId.toUpperCase() },
        { sku: 'tea', quantity: 1, unitPriceCents: 0 },
        { sku: 'pot', quantity: 1_000_000, unitPriceCents: 10_000_000 },
      ],
    });
    expect(status).toBe(201);
    expect(body).toEqual({
      orderId: expect.stringMatching(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/),
      userId,
      status: 'placed',
      source: 'cart',
      currency: 'USD',
      totalCents: 10_000_000_001_497,
      placedAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/),
      items: [
        { lineNo: 1, sku: 'tea', quantity: 3, unitPriceCents: 499, cartLineId },
        { lineNo: 2, sku: 'tea', quantity: 1, unitPriceCents: 0 },
        { lineNo: 3, sku: 'pot', quantity: 1_000_000, unitPriceCents: 10_000_000 },
      ],
    });
    expect(headers.get('location')).toBe(`/orders/${body.orderId}`);
    expect((await get(`/orders/${body.orderId}`)).body).toEqual(body);
    const { rows } = await client.query(
      `SELECT user_id, total_cents, idempotency_key, placed_at = $2::timestamptz AS same_time,
         (SELECT array_agg(line_no || ' ' || sku || ' ' || quantity || ' ' || unit_price_cents ORDER BY line_no)
          FROM order_items AS i WHERE i.order_id = o.order_id) AS items
       FROM orders AS o WHERE order_id = $1`,
      [body.orderId, body.placedAt],
    );
    expect(rows).toEqual([
      {
        user_id: userId,
        total_cents: '10000000001497',
        idempotency_key: null,
        same_time: true,
        items: ['1 tea 3 499', '2 tea 1 0', '3 pot 1000000 10000000'],
      },
    ]);
  });

  it('takes the largest order there is', async () => {
    const largest = {
      sku: 's'.repeat(64),
      quantity: 1_000_000,
      unitPriceCents: 10_000_000,
      cartLineId: randomUUIDv7(),
    };
    const { status, body } = await place({ userId: newUser(), source: 'direct', items: Array(500).fill(largest) });
    expect(status).toBe(201);
    expect(body).toMatchObject({ source: 'direct', totalCents: 5_000_000_000_000_000 });
    expect(body.items).toHaveLength(500);
  });

  it('without a key places a new order each time', async () => {
    const order = { userId: newUser(), items: [item] };
    const [one, two] = [await place(order), await place(order)];
    expect([one.status, two.status]).toEqual([201, 201]);
    expect(one.body.orderId).not.toBe(two.body.orderId);
  });

  it('is refused with a problem document that names the field, and nothing is stored', async () => {
    const order = { userId: 'ada', items: [item] };
    const withItem = (change: object) => ({ ...order, items: [item, { ...item, ...change }] });
    const cases: [unknown, string, Record<string, string>?][] = [
      [{ ...order, userId: '\0\0\0\0' }, 'body.userId'],
      [{ ...order, userId: 'a b' }, 'body.userId'],
      [{ ...order, items: [] }, 'body.items'],
      [{ ...order, items: Array(501).fill(item) }, 'body.items'],
      [withItem({ quantity: 0 }), 'body.items.1.quantity'],
      [withItem({ quantity: 1.5 }), 'body.items.1.quantity'],
      [withItem({ quantity: 1e9 }), 'body.items.1.quantity'],
      [withItem({ unitPriceCents: -1 }), 'body.items.1.unitPriceCents'],
      [withItem({ unitPriceCents: 1e15 }), 'body.items.1.unitPriceCents'],
      [withItem({ sku: '\0' }), 'body.items.1.sku'],
      [withItem({ cartLineId: 'line' }), 'body.items.1.cartLineId'],
      [withItem({ size: 'L' }), 'body.items.1.size'],
      [{ ...order, currency: 'dollar' }, 'body.currency'],
      [{ ...order, source: 'phone' }, 'body.source'],
      [{ ...order, totalCents: 1 }, 'body.totalCents'],
      [order, 'headers.idempotency-key', { 'idempotency-key': 'two words' }],
      [order, 'headers.idempotency-key', { 'idempotency-key': 'k'.repeat(256) }],
    ];
    const before = await countRows(client);
    for (const [body, field, headers] of cases) {
      const answer = await place(body, headers);
      expect(answer.headers.get('content-type'), field).toMatch(/^application\/problem\+json/);
      expect(answer.body, field).toMatchObject({ status: 400, title: 'Bad Request', type: 'about:blank' });
      expect(answer.body.errors, field).toEqual([{ field, message: expect.any(String) }]);
      expect(answer.status).toBe(400);
    }
    expect(await countRows(client)).toEqual(before);
  });

  it('is refused with a problem document when the body is not JSON, too large, or of another kind', async () => {
    const json = { 'content-type': 'application/json' };
    const cases: [string, Record<string, string>, number][] = [
      ['{"userId":', json, 400],
      ['[]', json, 400],
      ['', json, 400],
      [`{"userId":"${'a'.repeat(2 * 1024 * 1024)}"}`, json, 413],
      ['userId=ada', { 'content-type': 'application/x-www-form-urlencoded' }, 415],
      ['{"__proto__":{"userId":"ada"}}', json, 400],
    ];
    const before = await countRows(client);
    for (const [body, headers, status] of cases) {
      const answer = await place(body, headers);
      expect([answer.status, answer.body.status], body.slice(0, 20)).toEqual([status, status]);
      expect(answer.headers.get('content-type')).toMatch(/^application\/problem\+json/);
    }
    expect(await countRows(client)).toEqual(before);
  });
});

describe('a trigger of somebody else', () => {
  it.each(['orders', 'order_items'])(
    'that keeps rows of %s back makes the answer 500, and nothing is stored',
    async (table) => {
      await client.query(`
      CREATE FUNCTION keep_back() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
      CREATE TRIGGER keep_back BEFORE INSERT ON ${table} FOR EACH ROW EXECUTE FUNCTION keep_back()`);
      try {
        const before = await countRows(client);
        for (const headers of [{}, { 'idempotency-key': 'kept-back' }]) {
          expect((await place({ userId: newUser(), items: [item, item] }, headers)).status).toBe(500);
        }
        expect(await countRows(client)).toEqual(before);
      } finally {
        await client.query('DROP FUNCTION keep_back CASCADE');
      }
    },
  );
});

describe('a trigger that gives an order another identity', () => {
  it.each(['NEW.order_id = gen_random_uuid()', "NEW.user_id = 'somebody'"])(
    '(%s) makes the answer 500, and nothing is stored',
    async (change) => {
      await client.query(`
      CREATE FUNCTION rewrite() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN ${change}; RETURN NEW; END $$;
      CREATE TRIGGER rewrite BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION rewrite()`);
      try {
        const before = await countRows(client);
        expect((await place({ userId: newUser(), items: [item] })).status).toBe(500);
        expect(await countRows(client)).toEqual(before);
      } finally {
        await client.query('DROP FUNCTION rewrite CASCADE');
      }
    },
  );
});

describe('an idempotency key', () => {
  it('answers the same order again with 200 and the first answer, also after it was paid', async () => {
    const order = { userId: newUser(), items: [item, item] };
    const key = { 'idempotency-key': '!~' };
    const first = await place(order, key);
    expect(first.status).toBe(201);
    // The same order, written in another way.
    const same = { items: order.items, currency: 'USD', source: 'cart', userId: order.userId };
    expect(await place(same, key)).toMatchObject({ status: 200, body: first.body });
    await call('POST', `/orders/${first.body.orderId}/payment`);
    expect((await place(order, key)).body).toEqual(first.body);
  });

  it('is refused with 422 for another order, and nothing is stored', async () => {
    const order = { userId: newUser(), items: [item] };
    const key = { 'idempotency-key': 'k1' };
    await place(order, key);
    const before = await countRows(client);
    const answer = await place({ ...order, items: [{ ...item, quantity: 2 }] }, key);
    expect(answer.status).toBe(422);
    expect(answer.headers.get('content-type')).toMatch(/^application\/problem\+json/);
    expect(answer.body.errors).toEqual([{ field: 'headers.idempotency-key', message: expect.any(String) }]);
    expect(await countRows(client)).toEqual(before);
  });

  it('belongs to one user', async () => {
    const answers = [newUser(), newUser()].map((userId) =>
      place({ userId, items: [item] }, { 'idempotency-key': 'k' }),
    );
    expect((await Promise.all(answers)).map(({ status }) => status)).toEqual([201, 201]);
  });

  it('brought by two requests at once makes one order: one 201, one 200, for each of 100 pairs', async () => {
    const pairs = Array.from({ length: 100 }, async (_, pair) => {
      const order = { userId: newUser(), items: [{ ...item, quantity: pair + 1 }] };
      const answers = await Promise.all([1, 2].map(() => place(order, { 'idempotency-key': 'twice' })));
      expect(answers.map(({ status }) => status).toSorted()).toEqual([200, 201]);
      expect(answers[0]!.body).toEqual(answers[1]!.body);
      expect((await get(`/users/${order.userId}/orders`)).body.orders).toEqual([answers[0]!.body]);
    });
    await Promise.all(pairs);
  });

  it('brought by two different orders at once keeps one and refuses the other, for each of 50 pairs', async () => {
    const pairs = Array.from({ length: 50 }, async () => {
      const userId = newUser();
      const answers = await Promise.all(
        [1, 2].map((quantity) => place({ userId, items: [{ ...item, quantity }] }, { 'idempotency-key': 'k' })),
      );
      expect(answers.map(({ status }) => status).toSorted()).toEqual([201, 422]);
      expect((await get(`/users/${userId}/orders`)).body.orders).toHaveLength(1);
    });
    await Promise.all(pairs);
  });

  it('waits for another writer that is just using it, and goes by how that ends', async () => {
    const other = await connectTo(environment.env.ORDER_DATABASE_URL);
    try {
      for (const [end, expected] of [
        ['COMMIT', 200],
        ['ROLLBACK', 201],
      ] as const) {
        const userId = newUser();
        await other.query('BEGIN');
        const orderId = await insertOrderRow(other, { user_id: userId, idempotency_key: 'k' });
        await insertItemRow(other, orderId);
        const placing = place({ userId, items: [item] }, { 'idempotency-key': 'k' });
        await expect
          .poll(async () => (await client.query('SELECT count(*)::int FROM pg_locks WHERE NOT granted')).rows[0].count)
          .toBeGreaterThan(0);
        await other.query(end);
        expect((await placing).status).toBe(expected);
      }
    } finally {
      await other.end();
    }
  });
});

describe('reading orders', () => {
  it('of no such id is a 404, of no id at all a 400', async () => {
    const missing = await get(`/orders/${randomUUIDv7()}`);
    expect(missing).toMatchObject({ status: 404, body: { status: 404, errors: [{ field: 'params.orderId' }] } });
    expect(missing.headers.get('content-type')).toMatch(/^application\/problem\+json/);
    expect(await get('/orders/1')).toMatchObject({ status: 400, body: { errors: [{ field: 'params.orderId' }] } });
    expect(await get('/nothing')).toMatchObject({ status: 404, body: { status: 404 } });
  });

  it('of another writer shows what that wrote: any UUID, gaps between lines, a total of 63 bits', async () => {
    const orderId = 'aaaaaaaa-aaaa-0aaa-0aaa-aaaaaaaaaaaa';
    await inTransaction(client, async () => {
      await insertOrderRow(client, { order_id: orderId, total_cents: '9223372036854775807', placed_at: '1999-12-31Z' });
      await insertItemRow(client, orderId, { line_no: 30, sku: 'third' });
      await insertItemRow(client, orderId, { line_no: 7, sku: 'first' });
    });
    const response = await fetch(`${api.url}/orders/${orderId.toUpperCase()}`);
    const text = await response.text();
    expect(text).toContain('"totalCents":9223372036854775807,');
    expect(JSON.parse(text)).toMatchObject({
      orderId,
      placedAt: '1999-12-31T00:00:00.000000Z',
      items: [
        { lineNo: 7, sku: 'first' },
        { lineNo: 30, sku: 'third' },
      ],
    });
  });

  it('of a user lists them newest first, page by page, each once, also where many share a microsecond', async () => {
    const userId = newUser();
    const ids = Array.from({ length: 25 }, () => randomUUIDv7())
      .toSorted()
      .toReversed();
    await inTransaction(client, async () => {
      for (const [index, order_id] of ids.entries()) {
        // Two thirds at one instant, the rest one microsecond before it.
        const placed_at = index < 17 ? '2026-01-01 00:00:00.000001Z' : '2026-01-01 00:00:00Z';
        await insertOrderRow(client, { order_id, user_id: userId, placed_at });
        await insertItemRow(client, order_id);
      }
    });
    for (const limit of [1, 4, 24, 25, 100]) {
      const seen: string[] = [];
      let next: string | undefined;
      do {
        const { status, body } = await get(`/users/${userId}/orders?limit=${limit}${next ? `&before=${next}` : ''}`);
        expect(status).toBe(200);
        expect(body.orders.length).toBeLessThanOrEqual(limit);
        seen.push(...body.orders.map((order: { orderId: string }) => order.orderId));
        next = body.next;
      } while (next !== undefined);
      expect(seen, `limit ${limit}`).toEqual(ids);
    }
    expect((await get(`/users/${userId}/orders`)).body.orders).toHaveLength(20);
    expect((await get(`/users/${userId}/orders?before=${ids.at(-1)}`)).body).toEqual({ orders: [] });
  });

  it('of a user who has never ordered is an empty list', async () => {
    expect(await get(`/users/${newUser()}/orders`)).toMatchObject({ status: 200, body: { orders: [] } });
  });

  it('of a user is refused with a bad id, limit or cursor', async () => {
    const userId = newUser();
    await place({ userId, items: [item] });
    const { body: others } = await place({ userId: newUser(), items: [item] });
    const cases = [
      ['/users/%00%00%00%00/orders', 'params.userId'],
      [`/users/${'a'.repeat(65)}/orders`, 'params.userId'],
      [`/users/${userId}/orders?limit=0`, 'query.limit'],
      [`/users/${userId}/orders?limit=101`, 'query.limit'],
      [`/users/${userId}/orders?limit=x`, 'query.limit'],
      [`/users/${userId}/orders?before=1`, 'query.before'],
      [`/users/${userId}/orders?before=${randomUUIDv7()}`, 'query.before'],
      [`/users/${userId}/orders?before=${others.orderId}`, 'query.before'],
      [`/users/${userId}/orders?offset=1`, 'query.offset'],
    ] as const;
    for (const [path, field] of cases) {
      const { status, body } = await get(path);
      expect([status, body.errors?.[0]?.field], path).toEqual([400, field]);
    }
  });
});

describe('paying an order', () => {
  it('moves it to paid, answers the same again, and changes nothing else', async () => {
    const { body: placed } = await place({ userId: newUser(), items: [item] });
    const readPaid = async () => (await api.metrics()).get('tillstream_orders_paid_total');
    const before = await readPaid();
    const pay = () => call('POST', `/orders/${placed.orderId}/payment`);
    const payments = await Promise.all([pay(), pay(), pay(), pay()]);
    for (const { status, body } of [...payments, await pay()]) {
      expect({ status, body }).toEqual({ status: 200, body: { ...placed, status: 'paid' } });
    }
    expect((await get(`/orders/${placed.orderId}`)).body).toEqual({ ...placed, status: 'paid' });
    expect(await readPaid()).toBe(before! + 1);
  });

  it('of no such id is a 404', async () => {
    const answer = await call('POST', `/orders/${randomUUIDv7()}/payment`);
    expect(answer).toMatchObject({ status: 404, body: { status: 404, errors: [{ field: 'params.orderId' }] } });
  });
});

describe('the service', () => {
  it('counts what it placed, answered again and refused', async () => {
    const read = async () => {
      const metrics = await api.metrics();
      return ['placed_total{source="direct"}', 'replayed_total', 'key_conflicts_total'].map(
        (name) => metrics.get(`tillstream_orders_${name}`) ?? 0,
      );
    };
    const before = await read();
    const order = { userId: newUser(), source: 'direct', items: [item] };
    for (const currency of ['USD', 'USD', 'USD', 'EUR'])
      await place({ ...order, currency }, { 'idempotency-key': 'k' });
    expect(await read()).toEqual([before[0]! + 1, before[1]! + 2, before[2]! + 1]);
  });

  it('describes itself at /docs: an OpenAPI 3.1 document with every route, whose references resolve', async () => {
    const page = await fetch(`${api.url}/docs/`);
    expect([page.status, page.headers.get('content-type')]).toEqual([200, expect.stringContaining('text/html')]);
    const { body: document } = await get('/docs/json');
    expect(document.openapi).toMatch(/^3\.1\./);
    expect(Object.entries(document.paths).map(([path, methods]) => [path, Object.keys(methods as object)])).toEqual(
      expect.arrayContaining([
        ['/orders', ['post']],
        ['/orders/{orderId}', ['get']],
        ['/users/{userId}/orders', ['get']],
        ['/orders/{orderId}/payment', ['post']],
      ]),
    );
    expect(Object.keys(document.paths['/orders'].post.responses)).toEqual(
      expect.arrayContaining(['200', '201', '400', '413', '415', '422', '503']),
    );
    const references = [...JSON.stringify(document).matchAll(/"\$ref":"#\/components\/schemas\/([^"]+)"/g)];
    expect(references.length).toBeGreaterThan(0);
    for (const [, name] of references) expect(document.components.schemas).toHaveProperty(name!);
    const { parameters, requestBody } = document.paths['/orders'].post;
    expect(parameters).toEqual([expect.objectContaining({ name: 'idempotency-key', in: 'header', required: false })]);
    expect(requestBody.content['application/json'].schema).toMatchObject({
      required: ['userId', 'items'],
      properties: { items: { minItems: 1, maxItems: 500 } },
    });
  });

  it('never writes users, SKUs or keys into its log', async () => {
    const [userId, sku, key] = ['logged-user', 'logged-sku', 'logged-key'];
    await place({ userId, items: [{ ...item, sku }] }, { 'idempotency-key': key });
    await place({ userId, items: [{ ...item, sku, quantity: 0 }] }, { 'idempotency-key': key });
    await place({ userId, items: [{ ...item, sku }, item] }, { 'idempotency-key': key });
    await get(`/users/${userId}/orders`);
    expect(JSON.stringify([api.logs, api.output])).not.toContain('logged-');
  });

  it('takes a request with the same header twice as one bad key', async () => {
    const body = JSON.stringify({ userId: newUser(), items: [item] });
    const status = await new Promise((resolve, reject) => {
      const headers = { 'content-type': 'application/json', 'idempotency-key': ['one', 'two'] };
      const request = httpRequest(`${api.url}/orders`, { method: 'POST', headers }, (response) => {
        response.resume();
        resolve(response.statusCode);
      });
      request.on('error', reject);
      request.end(body);
    });
    expect(status).toBe(400);
  });
});
