// Two sinks and the cart API at the same lines, as fast as they can. Goods are neither lost nor made: what was put into
// carts is there, or was recorded as removed.

import { randomInt } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { openAccess } from '#service/auth/access.ts';
import { applyTogether } from '../../../cart-sink/apply/apply-batch.ts';
import type { Batch } from '../../../cart-sink/apply/batch.ts';
import { readStored } from '../../../cart-sink/apply/ownership.ts';
import { applyAlone } from '../../../cart-sink/apply/retry.ts';
import { createCartServer } from '../../../cart-sink/cart-api/server.ts';
import { CURRENT_RULE, type Rule, reduceCart } from '../../../cart-sink/rule/reduce-cart.ts';
import type { OrderPlaced } from '../../../schemas/order-placed.ts';
import { setFailpointHandler } from '../../../service/failpoint.ts';
import type { HttpServer } from '../../../service/http-server.ts';
import { createMetrics } from '../../../service/metrics.ts';
import { createEvent, createPositions, createStamp } from '../../support/examples/sink-events.ts';
import {
  applyBatch,
  type CartDatabase,
  createCartDatabase,
  silent,
  TEST_GROUP,
} from '../../support/postgres/cart-database.ts';
import { waitFor } from '../../support/wait.ts';

let carts: CartDatabase;
let server: HttpServer;

beforeAll(async () => {
  carts = await createCartDatabase('apply_races');
  const database = carts.connect();
  const readiness = () => ({ ready: true, body: {} });
  server = await createCartServer({
    host: '127.0.0.1',
    port: 0,
    database,
    logger: silent,
    metrics: createMetrics('cart-sink'),
    readiness,
    access: openAccess,
  });
});
afterAll(async () => {
  await server.close();
  await carts.cleanUp();
});
beforeEach(() => carts.query('TRUNCATE cart_lines, consumer_offsets, applied_orders, cart_removals, parked_events'));

const users = ['ada', 'bob', 'eve'];
const skus = ['tea', 'milk', 'eggs', 'salt'];
const pick = <T>(values: readonly T[]): T => values[randomInt(values.length)]!;

async function add(userId: string, sku: string, quantity: number): Promise<{ lineId: string; quantity: number }> {
  const reply = await server.app.inject({ method: 'POST', url: `/carts/${userId}/lines`, payload: { sku, quantity } });
  expect(reply.statusCode).toBe(201);
  return reply.json();
}

it('goods are neither lost nor made while two sinks and many shoppers are at the same lines', {
  timeout: 60_000,
}, async () => {
  const lineIds = new Set<string>();
  let added = 0;
  let adding = true;
  const shop = async () => {
    while (adding) {
      const quantity = randomInt(1, 5);
      lineIds.add((await add(pick(users), pick(skus), quantity)).lineId);
      added += quantity;
    }
  };
  const sink = async (topic: string, batches: number) => {
    const [partition, nextPosition] = [await carts.own(topic), createPositions()];
    const createOrder = () =>
      createEvent({
        ...nextPosition(),
        userId: pick(users),
        items: Array.from({ length: randomInt(1, 5) }, (_, index) => ({
          lineNo: index + 1,
          sku: pick(skus),
          quantity: randomInt(1, 4),
          unitPriceCents: 1n,
          // A third name a line, often another user's or one that is gone.
          cartLineId: randomInt(3) === 0 ? pick([...lineIds, '01a20000-0000-7000-8000-000000000009']) : null,
        })),
      });
    for (let index = 0; index < batches; index += 1) {
      const result = await applyBatch(carts.database, partition.batch(Array.from({ length: 8 }, createOrder)));
      expect(result).toMatchObject({ kind: 'applied', orders: 8 });
    }
  };

  const shoppers = Array.from({ length: 4 }, shop);
  try {
    await Promise.all([sink('live', 150), sink('replay', 150)]);
  } finally {
    adding = false;
    await Promise.all(shoppers);
  }

  const [sums] = await carts.query<{ there: string; removed: string; lines: string }>(
    `SELECT coalesce((SELECT sum(quantity) FROM cart_lines), 0) AS there,
            (SELECT sum(removed) FROM cart_removals) AS removed,
            (SELECT count(DISTINCT line_id) FROM cart_removals) AS lines`,
  );
  expect(Number(sums!.there) + Number(sums!.removed)).toBe(added);
  // The race was one: many lines came and went.
  expect(Number(sums!.lines)).toBeGreaterThan(skus.length * users.length);
});

it('goods are neither lost nor made while replays under changing rules give back and take again', {
  timeout: 60_000,
}, async () => {
  const rules: Rule[] = [
    CURRENT_RULE,
    { version: 8, reduce: (lines, order) => reduceCart(lines, { ...order, source: 'direct' }) },
    {
      version: 9,
      reduce: (lines, order) =>
        reduceCart(lines, { ...order, items: order.items.map((item) => ({ ...item, quantity: item.quantity * 2 })) }),
    },
  ];
  let added = 0;
  let adding = true;
  const shop = async () => {
    while (adding) {
      const quantity = randomInt(1, 5);
      await add(pick(users), pick(skus), quantity);
      added += quantity;
    }
  };
  const placed: OrderPlaced[] = [];
  const nextPosition = createPositions();
  const createOrder = () => {
    const items = Array.from({ length: randomInt(1, 4) }, (_, index) => ({
      lineNo: index + 1,
      sku: pick(skus),
      quantity: randomInt(1, 4),
      unitPriceCents: 1n,
      cartLineId: null,
    }));
    return createEvent({ ...nextPosition(), userId: pick(users), items });
  };
  const sink = async () => {
    const partition = await carts.own('live');
    for (let index = 0; index < 100; index += 1) {
      const orders = Array.from({ length: 4 }, createOrder);
      placed.push(...orders);
      expect(await applyBatch(carts.database, partition.batch(orders))).toMatchObject({ kind: 'applied' });
    }
  };
  let changed = 0;
  const replay = async () => {
    const partition = await carts.own('replay');
    for (let index = 0; index < 100; index += 1) {
      const start = randomInt(placed.length + 1);
      const batch = partition.batch(placed.slice(start, start + 12), createStamp({ mode: 'reapply' }));
      const io = {
        applyTogether: (batches: readonly Batch[]) => applyTogether(carts.database, batches, pick(rules)),
        readStored: () => readStored(carts.database.pool, TEST_GROUP, batch),
      };
      const report = { onRetry: () => undefined, onRecovered: () => undefined };
      const result = await applyAlone(batch, io, report, new AbortController().signal);
      expect(result).toMatchObject({ kind: 'applied' });
      changed += (result as { changed: number }).changed;
    }
  };

  const shoppers = Array.from({ length: 3 }, shop);
  try {
    await Promise.all([sink(), replay()]);
  } finally {
    adding = false;
    await Promise.all(shoppers);
  }

  const [sums] = await carts.query<{ there: string; removed: string; back: string }>(
    `SELECT coalesce((SELECT sum(quantity) FROM cart_lines), 0) AS there, sum(removed) AS removed,
            count(*) FILTER (WHERE removed < 0) AS back FROM cart_removals`,
  );
  expect(Number(sums!.there) + Number(sums!.removed)).toBe(added);
  expect(changed).toBeGreaterThan(100);
  expect(Number(sums!.back)).toBeGreaterThan(20);
});

it('goods added to a line that the sink is just deleting come back as a new line', async () => {
  const old = await add('ada', 'tea', 3);
  const items = [{ lineNo: 1, sku: 'tea', quantity: 3, unitPriceCents: 1n, cartLineId: null }];
  const batch = (await carts.own('live')).batch([createEvent({ userId: 'ada', items })]);
  const released = Promise.withResolvers<void>();
  const reached = Promise.withResolvers<void>();
  setFailpointHandler((name) => {
    if (name !== 'sink.before-commit') return;
    reached.resolve();
    return released.promise;
  });
  try {
    const applying = applyBatch(carts.database, batch);
    await reached.promise;
    const adding = add('ada', 'tea', 2);
    await waitFor('the shopper to wait for the sink', async () => {
      const waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
      return (await carts.query(waiting)).length > 0;
    });
    released.resolve();
    expect(await applying).toMatchObject({ orders: 1 });
    const line = await adding;
    expect(line).toMatchObject({ quantity: 2 });
    expect(line.lineId).not.toBe(old.lineId);
  } finally {
    released.resolve();
    setFailpointHandler(undefined);
  }
});
