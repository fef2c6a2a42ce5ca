// Both APIs under requests drawn from their own OpenAPI documents, most of them odd somewhere: whatever comes in, the
// answer is one that the document lists, never a 5xx, and a request that is refused has stored nothing.

import fc from 'fast-check';
import { afterEach, expect, it } from 'vitest';
import { openAccess } from '#service/auth/access.ts';
import { guardRoutes } from '#service/auth/ownership.ts';
import { serverOf } from '#service/postgres/database-server.ts';
import { createCartServer } from '../../../cart-sink/cart-api/server.ts';
import { createOrderCounters } from '../../../order-api/routes/order-routes.ts';
import { addPayOrder } from '../../../order-api/routes/pay-order.ts';
import { addPlaceOrder } from '../../../order-api/routes/place-order.ts';
import { addReadOrders } from '../../../order-api/routes/read-orders.ts';
import { createDatabase } from '../../../service/database.ts';
import { createHttpServer, type HttpServer } from '../../../service/http-server.ts';
import { createMetrics } from '../../../service/metrics.ts';
import { createCartDatabase, silent } from '../../support/postgres/cart-database.ts';
import { connectTo, createOrderDatabase, migrateTestOrders } from '../../support/postgres/order-database.ts';
import { drawRequests } from './openapi-requests.ts';

const RUNS = 1_000;
const users = ['ada', 'bob'];
/** Answers to a path that leads nowhere any more, and to a body where none is expected. */
const UNLISTED = new Set([404, 413, 414, 415]);

const atEnd: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of atEnd.splice(0).reverse()) await end();
});

/** Every answer must be documented; `readStored` tells apart what is stored before and after a refusal. */
async function fuzz(
  { app }: HttpServer,
  api: { prefixes: readonly string[]; idName: string; readIds: () => readonly string[] },
  readStored: () => Promise<unknown>,
  onAnswer: (body: Record<string, unknown>) => void,
): Promise<ReadonlyMap<number, number>> {
  const document = (await app.inject('/docs/json')).json();
  const known = (name: string) => (name === api.idName ? api.readIds() : users);
  const answers = new Map<number, number>();
  let stored = await readStored();
  await fc.assert(
    fc.asyncProperty(drawRequests(document, api.prefixes, known), async ({ responses, ...request }) => {
      const { payload, ...rest } = request;
      const answer = await app.inject({ ...rest, ...(payload !== undefined && { payload }) });
      const { statusCode: status } = answer;
      answers.set(status, (answers.get(status) ?? 0) + 1);
      expect(status, answer.body).toBeLessThan(500);
      if (!UNLISTED.has(status)) expect(Object.keys(responses)).toContain(String(status));
      const now = await readStored();
      if (status >= 400) {
        expect(answer.headers['content-type']).toBe('application/problem+json; charset=utf-8');
        expect(answer.json()).toMatchObject({ status, title: expect.any(String) });
        if (status !== 404) expect(answer.json().errors?.length, answer.body).toBeGreaterThan(0);
        expect(now).toEqual(stored);
      } else if (answer.body !== '') {
        onAnswer(answer.json());
      }
      stored = now;
    }),
    { numRuns: RUNS },
  );
  return answers;
}

/** Refusals alone would prove little. */
function expectMany(answers: ReadonlyMap<number, number>, statuses: readonly number[]): void {
  for (const status of statuses) expect(answers.get(status) ?? 0, `answers of ${status}`).toBeGreaterThan(10);
}

it('the cart API', { timeout: 300_000 }, async () => {
  const carts = await createCartDatabase('fuzz_carts');
  atEnd.push(() => carts.cleanUp());
  const server = await createCartServer({
    host: '127.0.0.1',
    port: 0,
    database: carts.connect(),
    logger: silent,
    metrics: createMetrics('cart-sink'),
    readiness: () => ({ ready: true, body: {} }),
    access: openAccess,
  });
  atEnd.push(() => server.close());
  const lineIds: string[] = [];
  const answers = await fuzz(
    server,
    { prefixes: ['/carts/'], idName: 'lineId', readIds: () => lineIds },
    () => carts.query('SELECT line_id, user_id, sku, quantity, xmin FROM cart_lines ORDER BY line_id'),
    ({ lineId }) => {
      if (typeof lineId === 'string') lineIds.unshift(lineId);
      lineIds.splice(5);
    },
  );
  expectMany(answers, [200, 201, 204, 400, 404]);
});

it('the order API', { timeout: 300_000 }, async () => {
  const orders = await createOrderDatabase('fuzz_orders');
  atEnd.push(() => orders.drop());
  await migrateTestOrders(orders.url);
  const client = await connectTo(orders.url);
  atEnd.push(() => client.end());
  const database = createDatabase({
    postgres: serverOf(orders.url),
    applicationName: 'test',
    poolSize: 2,
    statementTimeoutMs: 10_000,
    lockTimeoutMs: 5_000,
    idleInTransactionTimeoutMs: 10_000,
    connectTimeoutMs: 3_000,
    acquireTimeoutMs: 3_000,
    logger: silent,
  });
  atEnd.push(() => database.close());
  const metrics = createMetrics('order-api');
  const readiness = () => ({ ready: true, body: {} });
  const docs = { title: 'Orders', description: '' };
  const server = await createHttpServer({
    service: 'order-api',
    host: '127.0.0.1',
    port: 0,
    logger: silent,
    metrics,
    readiness,
    docs,
  });
  atEnd.push(() => server.close());
  await server.app.register(async (app) => {
    guardRoutes(app, openAccess, async () => undefined);
    const routes = { app, database, counters: createOrderCounters(metrics) };
    addPlaceOrder(routes);
    addReadOrders(routes);
    addPayOrder(routes);
  });
  const orderIds: string[] = [];
  const counts = `SELECT (SELECT count(*) FROM orders) AS orders, (SELECT count(*) FROM order_items) AS items,
    (SELECT count(*) FROM orders WHERE status = 'paid') AS paid`;
  const answers = await fuzz(
    server,
    { prefixes: ['/orders', '/users/'], idName: 'orderId', readIds: () => orderIds },
    async () => (await client.query(counts)).rows,
    ({ orderId }) => {
      if (typeof orderId === 'string') orderIds.unshift(orderId);
      orderIds.splice(5);
    },
  );
  expectMany(answers, [200, 201, 400, 404]);
});
