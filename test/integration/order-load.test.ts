// The makers of orders make what they say: each through the orders database's own rules, in as many transactions as
// promised. The oracle reads the orders back; Kafka plays no part.

import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createLogger } from '#service/logger.ts';
import { migrate } from '#service/migrate.ts';
import { createTestEnvironment, type TestEnvironment } from '../support/environment.ts';
import { readCartLines, readOrders } from '../support/oracle-facts.ts';
import { createOrderLoad, fillCarts, type OrderLoad } from '../support/order-load.ts';

const repository = join(import.meta.dirname, '..', '..');
const shape = { users: 10, itemsPerOrder: 3, skusPerUser: 4 };
let environment: TestEnvironment;
let load: OrderLoad;
let [ordersUrl, cartsUrl] = ['', ''];

beforeAll(async () => {
  environment = await createTestEnvironment('order_load');
  [ordersUrl, cartsUrl] = [environment.env.ORDER_DATABASE_URL, environment.env.CART_DATABASE_URL];
  const logger = createLogger('test', 'error');
  await migrate({ databaseUrl: ordersUrl, directory: join(repository, 'order-api', 'migrations'), logger });
  await migrate({ databaseUrl: cartsUrl, directory: join(repository, 'cart-sink', 'migrations'), logger });
  load = await createOrderLoad({ ordersUrl, shape });
});
afterAll(async () => {
  await load.close();
  await environment.cleanUp();
});

/** Runs `make` and returns the orders that appeared. */
async function ordersMadeBy(make: () => Promise<unknown>) {
  const before = new Set((await readOrders(ordersUrl)).map(({ orderId }) => orderId));
  await make();
  return (await readOrders(ordersUrl)).filter(({ orderId }) => !before.has(orderId));
}
const transactionsOf = (orders: readonly { xid: string }[]) => new Set(orders.map(({ xid }) => xid)).size;

test('a backlog is one transaction an order, with three items each', async () => {
  const made = await ordersMadeBy(() => load.backlog({ first: 0, count: 40 }));
  expect(made).toHaveLength(40);
  expect(transactionsOf(made)).toBe(40);
  expect(made.every(({ items }) => items.length === 3 && new Set(items.map(({ sku }) => sku)).size === 3)).toBe(true);
  expect(new Set(made.map(({ userId }) => userId)).size).toBe(shape.users);
});

test('the server keeps commit times, so that the oracle can compare those of events', async () => {
  const made = await ordersMadeBy(() => load.backlog({ first: 50, count: 5 }));
  expect(made.filter(({ committedAt }) => committedAt === undefined)).toEqual([]);
});

test('multi-row inserts and COPY put many orders into one transaction', async () => {
  const inserted = await ordersMadeBy(() => load.insertTogether({ first: 100, count: 30 }));
  const copied = await ordersMadeBy(() => load.copyTogether({ first: 200, count: 30 }));
  for (const made of [inserted, copied]) {
    expect(made).toHaveLength(30);
    expect(transactionsOf(made)).toBe(1);
    expect(made.every(({ items }) => items.length === 3)).toBe(true);
    expect(made.filter(({ items }) => items[0]!.cartLineId !== null)).toHaveLength(15);
  }
});

test('sessions that commit side by side have a transaction each', async () => {
  const made = await ordersMadeBy(() => load.commitSideBySide({ first: 300, count: 12 }));
  expect(transactionsOf(made)).toBe(12);
});

test('of a transaction with savepoints, only what was not rolled back remains', async () => {
  let fates = { kept: [] as readonly string[], rolledBack: [] as readonly string[] };
  const made = await ordersMadeBy(async () => {
    fates = await load.insertWithSavepoints(400);
  });
  expect(made.map(({ orderId }) => orderId).toSorted()).toEqual(fates.kept.toSorted());
  expect(fates.rolledBack).toHaveLength(1);
  expect(transactionsOf(made)).toBe(1);
});

test('a paced load keeps its pace', async () => {
  const startMs = performance.now();
  const made = await ordersMadeBy(() => load.pace({ first: 500, count: 50, ordersPerSecond: 100 }));
  expect(performance.now() - startMs).toBeGreaterThan(480);
  expect(transactionsOf(made)).toBe(50);
});

test('filled carts hold the lines that orders name, and enough in them', async () => {
  await fillCarts({ cartsUrl, shape, first: 0, count: 40 });
  const lines = new Map((await readCartLines(cartsUrl)).map((line) => [line.lineId, line]));
  const orders = (await readOrders(ordersUrl)).filter(({ items }) => items[0]!.cartLineId !== null).slice(0, 20);
  for (const { userId, items } of orders) {
    for (const { cartLineId, sku } of items) expect(lines.get(cartLineId!)).toMatchObject({ userId, sku });
  }
  const total = [...lines.values()].reduce((sum, { quantity }) => sum + quantity, 0);
  const kept = [...lines.values()].filter(({ sku }) => Number(sku.at(-1)) % 2 === 1).length;
  expect(total).toBe(40 * (1 + 2 + 3) + kept);
});
