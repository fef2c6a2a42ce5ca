// What both APIs answer when the database breaks off under a request that writes: 503 only where nothing was stored, 504
// with what to do where that is unknown. Each writing route meets a lost answer, a silent network, a refused connection
// and a lock that it does not get.

import { randomUUIDv7 } from 'node:crypto';
import type pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { openAccess } from '#service/auth/access.ts';
import { guardRoutes } from '#service/auth/ownership.ts';
import { serverOf } from '#service/postgres/database-server.ts';
import { createCartServer } from '../../../cart-sink/cart-api/server.ts';
import { createOrderCounters } from '../../../order-api/routes/order-routes.ts';
import { addPayOrder } from '../../../order-api/routes/pay-order.ts';
import { addPlaceOrder } from '../../../order-api/routes/place-order.ts';
import { createDatabase, type Database } from '../../../service/database.ts';
import { createHttpServer, type HttpServer } from '../../../service/http-server.ts';
import { createMetrics } from '../../../service/metrics.ts';
import { createTcpProxy, type TcpProxy } from '../../support/network/tcp-proxy.ts';
import { type CartDatabase, createCartDatabase, silent } from '../../support/postgres/cart-database.ts';
import {
  connectTo,
  createOrderDatabase,
  insertWholeOrder,
  migrateTestOrders,
} from '../../support/postgres/order-database.ts';

const STATEMENT_TIMEOUT_MS = 500;

let carts: CartDatabase;
let orders: { url: string; drop(): Promise<void> };
let client: pg.Client;
beforeAll(async () => {
  carts = await createCartDatabase('unknown_carts');
  orders = await createOrderDatabase('unknown_orders');
  await migrateTestOrders(orders.url);
  client = await connectTo(orders.url);
});
afterAll(async () => {
  await client.end();
  await orders.drop();
  await carts.cleanUp();
});

let proxy: TcpProxy;
let database: Database;
let server: HttpServer;
let url: string;

/** One connection through a proxy, so that what breaks is the connection of the request. */
async function open(databaseUrl: string): Promise<void> {
  proxy = await createTcpProxy({ targetPort: Number(new URL(databaseUrl).port) });
  const through = new URL(databaseUrl);
  through.port = String(proxy.port);
  database = createDatabase({
    postgres: serverOf(through.href),
    applicationName: 'test',
    poolSize: 1,
    statementTimeoutMs: STATEMENT_TIMEOUT_MS,
    lockTimeoutMs: 200,
    idleInTransactionTimeoutMs: 5_000,
    connectTimeoutMs: 1_000,
    acquireTimeoutMs: 1_000,
    logger: silent,
  });
  await database.ping();
}

const frame = { host: '127.0.0.1', port: 0, logger: silent, readiness: () => ({ ready: true, body: {} }) };

async function openCarts(): Promise<void> {
  await open(carts.url);
  server = await createCartServer({ ...frame, access: openAccess, database, metrics: createMetrics('cart-sink') });
  url = await server.listen();
}

async function openOrders(): Promise<void> {
  await open(orders.url);
  const metrics = createMetrics('order-api');
  server = await createHttpServer({ ...frame, service: 'order-api', metrics });
  const routes = { app: server.app, database, counters: createOrderCounters(metrics) };
  guardRoutes(server.app, openAccess, async () => undefined);
  addPlaceOrder(routes);
  addPayOrder(routes);
  url = await server.listen();
}

afterEach(async () => {
  proxy.onServerData(undefined);
  proxy.resume();
  await server.close();
  await database.close();
  proxy.close();
});

interface Asking {
  readonly method: string;
  readonly path: string;
  readonly body?: object;
  readonly key?: string;
}

async function ask({ method, path, body, key }: Asking) {
  const response = await fetch(url + path, {
    method,
    headers: {
      ...(body && { 'content-type': 'application/json' }),
      ...(key !== undefined && { 'idempotency-key': key }),
    },
    ...(body && { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  return {
    status: response.status,
    retryAfter: response.headers.get('retry-after'),
    // biome-ignore lint/suspicious/noExplicitAny: what a server answers is what the tests read
    body: (text === '' ? {} : JSON.parse(text)) as any,
  };
}

interface Case {
  readonly name: string;
  /** Makes what the request needs, and returns the request. */
  readonly prepare: () => Promise<Asking>;
  readonly advice: RegExp;
  readonly repeats: boolean;
  /** The table whose lock it needs. */
  readonly table: string;
}

const newUser = () => `user-${randomUUIDv7()}`;
const goods = { sku: 'tea', quantity: 2 };
const order = () => ({ userId: newUser(), items: [{ ...goods, unitPriceCents: 5 }] });
const readBack = /Before repeating it, read back with GET/;
const byKey = /Repeat it with the same Idempotency-Key/;
const twice = /Repeat it: carried out twice/;

const line = async (method: string, body?: object): Promise<Asking> => {
  const userId = newUser();
  const path = `/carts/${userId}/lines/${await carts.addLine(userId, 'tea', 1)}`;
  return { method, path, ...(body && { body }) };
};
const cartCases: readonly Case[] = [
  {
    name: 'POST of a line',
    prepare: async () => ({ method: 'POST', path: `/carts/${newUser()}/lines`, body: goods }),
    advice: readBack,
    repeats: false,
    table: 'cart_lines',
  },
  {
    name: 'POST of a line with a key',
    prepare: async () => ({ method: 'POST', path: `/carts/${newUser()}/lines`, body: goods, key: 'k' }),
    advice: byKey,
    repeats: true,
    table: 'cart_line_keys',
  },
  {
    name: 'PATCH of a line',
    prepare: () => line('PATCH', { quantity: 7 }),
    advice: twice,
    repeats: true,
    table: 'cart_lines',
  },
  { name: 'DELETE of a line', prepare: () => line('DELETE'), advice: twice, repeats: true, table: 'cart_lines' },
];
const orderCases: readonly Case[] = [
  {
    name: 'POST of an order',
    prepare: async () => ({ method: 'POST', path: '/orders', body: order() }),
    advice: readBack,
    repeats: false,
    table: 'orders',
  },
  {
    name: 'POST of an order with a key',
    prepare: async () => ({ method: 'POST', path: '/orders', body: order(), key: 'k' }),
    advice: byKey,
    repeats: true,
    table: 'orders',
  },
  {
    name: 'POST of a payment',
    prepare: async () => ({ method: 'POST', path: `/orders/${await insertWholeOrder(client)}/payment` }),
    advice: twice,
    repeats: true,
    table: 'orders',
  },
];

function testCase(one: Case, run: (text: string) => Promise<unknown>): void {
  const expectUnknown = (answer: Awaited<ReturnType<typeof ask>>) => {
    expect(answer.body).toMatchObject({
      status: 504,
      title: 'Outcome unknown',
      detail: expect.stringMatching(one.advice),
    });
    expect([answer.status, answer.retryAfter !== null]).toEqual([504, one.repeats]);
  };
  const expectNothingStored = (answer: Awaited<ReturnType<typeof ask>>) => {
    expect(answer.body).toMatchObject({ status: 503, detail: expect.stringContaining('Nothing was stored') });
    expect([answer.status, answer.retryAfter]).toEqual([503, '1']);
  };

  it('answers 504 when the answer to its COMMIT is lost; what it did stands', async () => {
    const asking = await one.prepare();
    proxy.onServerData(() => 'cut');
    expectUnknown(await ask(asking));
    proxy.onServerData(undefined);
    const again = await ask(asking);
    if (asking.key !== undefined) expect(again.status).toBe(200);
    if (asking.method === 'DELETE') expect(again.status).toBe(404);
    if (asking.method === 'PATCH') expect(again).toMatchObject({ status: 200, body: { quantity: 7 } });
  });

  it('answers 504 when the network is silent', async () => {
    const asking = await one.prepare();
    proxy.pause();
    expectUnknown(await ask(asking));
  });

  it('answers 503 when no connection can be opened, and when none is free', async () => {
    const asking = await one.prepare();
    proxy.refuse();
    proxy.cut();
    // The pool has noticed the cut once a request that could not begin is answered.
    let answer = await ask(asking);
    while (answer.status === 504) answer = await ask(asking);
    expectNothingStored(answer);
  });

  it('answers 503 when the server gives it up: a lock that it does not get', async () => {
    const asking = await one.prepare();
    await run(`BEGIN; LOCK TABLE ${one.table} IN ACCESS EXCLUSIVE MODE`);
    const answer = await ask(asking);
    await run('ROLLBACK');
    expectNothingStored(answer);
  });
}

describe.each(cartCases)('$name', (one) => {
  beforeEach(openCarts);
  testCase(one, (text) => carts.query(text));
});

describe.each(orderCases)('$name', (one) => {
  beforeEach(openOrders);
  testCase(one, (text) => client.query(text));
});

describe('an order with a key whose answer was lost', () => {
  beforeEach(openOrders);
  it('is placed once, however often it is repeated', async () => {
    const asking = { method: 'POST', path: '/orders', body: order(), key: 'k' };
    for (let attempt = 0; attempt < 3; attempt++) {
      proxy.onServerData(() => 'cut');
      expect((await ask(asking)).status).toBe(504);
      proxy.onServerData(undefined);
      await database.ping();
    }
    expect((await ask(asking)).status).toBe(200);
    const { rows } = await client.query('SELECT count(*)::int FROM orders WHERE user_id = $1', [asking.body.userId]);
    expect(rows).toEqual([{ count: 1 }]);
  });
});

describe('goods with a key whose answer was lost', () => {
  beforeEach(openCarts);
  it('are added once, however often it is repeated', async () => {
    const asking = { method: 'POST', path: '/carts/often/lines', body: goods, key: 'k' };
    for (let attempt = 0; attempt < 3; attempt++) {
      proxy.onServerData(() => 'cut');
      expect((await ask(asking)).status).toBe(504);
      proxy.onServerData(undefined);
      await database.ping();
    }
    expect(await ask(asking)).toMatchObject({ status: 200, body: { quantity: 2 } });
    expect(await carts.readLines()).toContain('often tea 2');
  });

  it('are described so for reading too: a GET answers 503', async () => {
    proxy.onServerData(() => 'cut');
    expect((await ask({ method: 'GET', path: '/carts/often' })).status).toBe(503);
  });
});
