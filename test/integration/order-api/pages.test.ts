// Pages of a user whose orders are as large as orders get: bounded in bytes, complete all the same, and no number of
// clients that hold them can end the process.

import { randomUUIDv7 } from 'node:crypto';
import type pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connectRaw } from '../../support/network/raw-http.ts';
import { connectTo } from '../../support/postgres/order-database.ts';
import type { Service } from '../../support/process/service-process.ts';
import { createTestEnvironment, type TestEnvironment } from '../../support/stack/environment.ts';
import { waitFor } from '../../support/wait.ts';

const PAGE_BYTES = 512 * 1024;

let environment: TestEnvironment;
let api: Service;
let client: pg.Client;

beforeAll(async () => {
  environment = await createTestEnvironment('order_pages');
  api = await environment.startService('order-api');
  await api.waitReady();
  client = await connectTo(environment.env.ORDER_DATABASE_URL);
});
afterAll(async () => {
  await client.end();
  await environment.cleanUp();
});

/** Every value at its longest. */
async function insertOrders(userId: string, orders: number, items: number): Promise<void> {
  await client.query('BEGIN');
  await client.query(
    `INSERT INTO orders (order_id, user_id, source, total_cents)
     SELECT gen_random_uuid(), $1, 'direct', 9223372036854775807 FROM generate_series(1, $2::int)`,
    [userId, orders],
  );
  await client.query(
    `INSERT INTO order_items (order_id, line_no, sku, quantity, unit_price_cents, cart_line_id)
     SELECT order_id, n, repeat('s', 64), 1000000, 10000000, gen_random_uuid()
     FROM orders, generate_series(1, $2::int) AS n WHERE user_id = $1`,
    [userId, items],
  );
  await client.query('COMMIT');
}

async function readPage(userId: string, query: string) {
  const response = await fetch(`${api.url}/users/${userId}/orders?${query}`);
  const text = await response.text();
  const body = JSON.parse(text) as { orders: { orderId: string; items: unknown[] }[]; next?: string };
  return { status: response.status, bytes: text.length, body };
}

describe('100 orders of 500 items', () => {
  const userId = `${'u'.repeat(27)}-${randomUUIDv7()}`;
  beforeAll(() => insertOrders(userId, 100, 500));

  it('come in pages of half a megabyte at most, with a cursor to go on, each order once', async () => {
    const seen: string[] = [];
    let next: string | undefined;
    do {
      const page = await readPage(userId, `limit=100${next ? `&before=${next}` : ''}`);
      expect(page.status).toBe(200);
      expect(page.bytes).toBeLessThanOrEqual(PAGE_BYTES);
      expect(page.body.orders.length).toBeGreaterThan(0);
      expect(page.body.orders.every(({ items }) => items.length === 500)).toBe(true);
      seen.push(...page.body.orders.map(({ orderId }) => orderId));
      next = page.body.next;
    } while (next !== undefined);
    expect([seen.length, new Set(seen).size]).toEqual([100, 100]);
    expect(seen.length).toBeGreaterThan(0);
  });

  it('with limit=1 come one by one', async () => {
    const { body } = await readPage(userId, 'limit=1');
    expect([body.orders.length, body.next]).toEqual([1, body.orders[0]!.orderId]);
  });

  it('asked for by 64 clients that never read do not end the process, nor keep others from theirs', async () => {
    const clients = await Promise.all(Array.from({ length: 64 }, () => connectRaw(api.url)));
    for (const { socket } of clients) {
      socket.pause();
      socket.write(`GET /users/${userId}/orders?limit=100 HTTP/1.1\r\nHost: localhost\r\n\r\n`.repeat(8));
    }
    // While 512 requests want ten connections, an answer may be 503.
    await waitFor('a page', async () => (await readPage(userId, 'limit=100')).status === 200, { deadlineMs: 60_000 });
    for (let attempt = 0; attempt < 10; attempt++) {
      expect((await fetch(`${api.url}/health/live`)).status).toBe(200);
    }
    const metrics = await api.metrics();
    expect(metrics.get('tillstream_process_resident_memory_bytes')).toBeLessThan(500 * 1024 * 1024);
    for (const { socket } of clients) socket.destroy();
    await api.waitReady(); // once what they had asked for is over
  });
});

it('small orders fill their page, and the last page has no cursor', async () => {
  const userId = `user-${randomUUIDv7()}`;
  await insertOrders(userId, 101, 1);
  const first = await readPage(userId, 'limit=100');
  expect([first.body.orders.length, first.body.next]).toEqual([100, first.body.orders.at(-1)!.orderId]);
  const second = await readPage(userId, `limit=100&before=${first.body.next}`);
  expect([second.body.orders.length, second.body.next]).toEqual([1, undefined]);
});

describe('a number or cursor in the query', () => {
  it.each([
    ['limit=0x10', 'limit'],
    ['limit=1e1', 'limit'],
    ['limit=%205', 'limit'],
    ['limit=5%20', 'limit'],
    ['limit=+5', 'limit'],
    ['limit=%2B5', 'limit'],
    ['limit=05', 'limit'],
    ['limit=5.0', 'limit'],
    ['limit=5.', 'limit'],
    ['limit=-5', 'limit'],
    ['limit=0', 'limit'],
    ['limit=101', 'limit'],
    ['limit=%D9%A5', 'limit'],
    ['limit=1_0', 'limit'],
    ['limit=5n', 'limit'],
    ['limit=Infinity', 'limit'],
    ['limit=5%00', 'limit'],
    ['limit=', 'limit'],
    ['limit', 'limit'],
    ['limit=5&limit=6', 'limit'],
    ['limit=5&limit=5', 'limit'],
    [`limit=${'9'.repeat(5_000)}`, 'limit'],
    ['Limit=5', 'Limit'],
    ['limit[]=5', 'limit[]'],
    ['before=', 'before'],
    ['before=1', 'before'],
    [`before=${'a'.repeat(36)}`, 'before'],
    [`before=%7B${randomUUIDv7()}%7D`, 'before'],
    [`before=%20${randomUUIDv7()}`, 'before'],
    [`before=${randomUUIDv7()}%0A`, 'before'],
    [`before=${randomUUIDv7().replaceAll('-', '')}`, 'before'],
    [`before=${randomUUIDv7()}&before=${randomUUIDv7()}`, 'before'],
    [`before=${randomUUIDv7()}`, 'before'],
    ['__proto__=1', '__proto__'],
    ['constructor=1', 'constructor'],
  ])('%s is refused', async (query, field) => {
    const response = await fetch(`${api.url}/users/ada/orders?${query}`);
    const body = (await response.json()) as { errors: { field: string }[] };
    expect([response.status, body.errors.map((error) => error.field)]).toEqual([400, [`query.${field}`]]);
  });

  it.each(['limit=1', 'limit=100', ''])('%s is accepted', async (query) => {
    expect((await fetch(`${api.url}/users/ada/orders?${query}`)).status).toBe(200);
  });
});
