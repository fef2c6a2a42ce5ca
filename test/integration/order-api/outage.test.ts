// order-api around the edges of its life: its database away at the start and later, silent, locked or full; started
// several at once; told to stop in the middle of a request; and started with what can't work. Nothing is ever half-written.

import { randomUUIDv7 } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import type pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createLocalPostgres, type LocalPostgres } from '../../../dev/servers/local-postgres.ts';
import { createTcpProxy, type TcpProxy } from '../../support/network/tcp-proxy.ts';
import { connectTo, migrateTestOrders } from '../../support/postgres/order-database.ts';
import { type Service, startService, stopAllServices } from '../../support/process/service-process.ts';
import { createTestDirectory, removeTestDirectory } from '../../support/process/test-directory.ts';
import { withServer } from '../../support/stack/environment.ts';
import { waitFor } from '../../support/wait.ts';

const directory = createTestDirectory('order-outage');
let postgres: LocalPostgres;
let database: string;

beforeAll(async () => {
  postgres = await createLocalPostgres({ directory: join(directory, 'server') });
  await postgres.start();
});
beforeEach(async () => {
  database = `orders_${randomUUIDv7().slice(-12)}`;
  await postgres.createDatabase(database);
});
afterEach(() => stopAllServices());
afterAll(async () => {
  await postgres.close();
  removeTestDirectory(directory);
});

const start = (env: Record<string, string> = {}) =>
  startService('order-api', { ORDER_DATABASE_URL: postgres.url(database), ...env });

async function place(api: Service, userId = 'ada', headers: Record<string, string> = {}) {
  const response = await fetch(`${api.url}/orders`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify({ userId, items: [{ sku: 'tea', quantity: 1, unitPriceCents: 499 }] }),
  });
  return { status: response.status, headers: response.headers, body: (await response.json()) as { orderId: string } };
}

/** Expects the answer that leaves open whether the order was placed, as a problem document with what to do. */
function expectUnknown({ status, headers, body }: Awaited<ReturnType<typeof place>>) {
  expect([status, body]).toEqual([504, expect.objectContaining({ status: 504, title: 'Outcome unknown' })]);
  expect(headers.get('content-type')).toMatch(/^application\/problem\+json/);
}

/** Expects the answer that asks to try again, as a problem document. */
function expectUnavailable({ status, headers, body }: Awaited<ReturnType<typeof place>>) {
  expect([status, body]).toEqual([503, expect.objectContaining({ status: 503, title: 'Database not available' })]);
  expect(headers.get('content-type')).toMatch(/^application\/problem\+json/);
  expect(Number(headers.get('retry-after'))).toBeGreaterThan(0);
}

const readOrders = () =>
  withServer(postgres.url(database), async (client) => {
    const { rows } = await client.query<{ order_id: string; user_id: string; items: number }>(
      `SELECT order_id, user_id, (SELECT count(*)::int FROM order_items AS i WHERE i.order_id = o.order_id) AS items
       FROM orders AS o`,
    );
    return rows;
  });

describe('a database that is away', () => {
  it('at the start is waited for: alive, not ready and 503 until it is there, migrated then', async () => {
    await postgres.stop('fast');
    const api = await start();
    try {
      await api.waitForLog('service.listening');
      await api.waitForLog('orders.database-away');
      expect((await fetch(`${api.url}/health/live`)).status).toBe(200);
      expect((await api.ready()).status).toBe(503);
      expectUnavailable(await place(api));
    } finally {
      await postgres.start();
    }
    await api.waitReady();
    expect((await place(api)).status).toBe(201);
  });

  it('at the start does not keep the service from stopping', async () => {
    await postgres.stop('fast');
    try {
      const api = await start();
      await api.waitForLog('orders.database-away');
      expect(await api.stop()).toMatchObject({ code: 0 });
    } finally {
      await postgres.start();
    }
  });

  it('at the start, by being silent, does not keep the service from stopping', async () => {
    const proxy = await createTcpProxy({ targetPort: postgres.port });
    proxy.pause();
    try {
      const url = new URL(postgres.url(database));
      url.port = String(proxy.port);
      const api = await start({ ORDER_DATABASE_URL: url.href });
      await api.waitForLog('service.listening');
      await waitFor('the migration to begin', () => proxy.connections.length > 0);
      expect(await api.stop()).toMatchObject({ code: 0 });
    } finally {
      proxy.close();
    }
  });

  it.each(['fast', 'immediate'] as const)(
    'after a %s stop under load costs 503 and 504 only, and every order that was answered is whole and there once',
    async (mode) => {
      const api = await start({ ORDER_DATABASE_ACQUIRE_TIMEOUT_MS: '500' });
      await api.waitReady();
      const users: string[] = [];
      const statuses = new Set<number>();
      let running = true;
      const client = async () => {
        while (running) {
          const userId = `user-${randomUUIDv7()}`;
          users.push(userId);
          // Asks again with its key until it knows.
          for (;;) {
            const answer = await place(api, userId, { 'idempotency-key': 'once' });
            statuses.add(answer.status);
            if (answer.status !== 503 && answer.status !== 504) break;
            if (answer.status === 503) expectUnavailable(answer);
            else expectUnknown(answer);
          }
        }
      };
      const clients = Promise.all(Array.from({ length: 8 }, client));
      await waitFor('some orders', () => users.length > 100);
      await postgres.stop(mode);
      await waitFor('503', () => statuses.has(503));
      await postgres.start();
      const soFar = users.length;
      await waitFor('orders after it', () => users.length > soFar + 100);
      running = false;
      await clients;
      // A repeated request that had been stored before the stop answers 200.
      expect([...statuses].filter((status) => ![200, 201, 503, 504].includes(status))).toEqual([]);
      const stored = await readOrders();
      expect(stored.map(({ user_id }) => user_id).toSorted()).toEqual(users.toSorted());
      expect(stored.filter(({ items }) => items !== 1)).toEqual([]);
      expect((await api.ready()).status).toBe(200);
    },
  );
});

describe('a database behind a broken network', () => {
  let proxy: TcpProxy;
  let api: Service;

  beforeEach(async () => {
    proxy = await createTcpProxy({ targetPort: postgres.port });
    const url = new URL(postgres.url(database));
    url.port = String(proxy.port);
    api = await start({
      ORDER_DATABASE_URL: url.href,
      ORDER_DATABASE_POOL_SIZE: '1',
      ORDER_DATABASE_STATEMENT_TIMEOUT_MS: '400',
      ORDER_DATABASE_LOCK_TIMEOUT_MS: '300',
      ORDER_DATABASE_ACQUIRE_TIMEOUT_MS: '300',
    });
    await api.waitReady();
  });
  afterEach(async () => {
    await stopAllServices();
    await proxy.close();
  });

  it('gets an order in one round trip, and a repeated one in two', async () => {
    await place(api);
    const turns: string[] = [];
    const note = (side: string) => (data: Buffer) => {
      if (turns.at(-1) !== side) turns.push(side);
      return data;
    };
    proxy.onClientData(note('request'));
    proxy.onServerData(note('answer'));
    expect((await place(api, 'ada', { 'idempotency-key': 'k' })).status).toBe(201);
    expect(turns.splice(0)).toEqual(['request', 'answer']);
    expect((await place(api, 'ada', { 'idempotency-key': 'k' })).status).toBe(200);
    expect(turns).toEqual(['request', 'answer', 'request', 'answer']);
  });

  it('that swallows everything is answered with 504 and 503 in bounded time, and recovered from', async () => {
    proxy.pause();
    const answers = await Promise.all([place(api), place(api), place(api)]);
    // One order was sent over the only connection; the others got none.
    expectUnknown(answers.find(({ status }) => status === 504)!);
    for (const answer of answers.filter(({ status }) => status !== 504)) expectUnavailable(answer);
    expect(answers.filter(({ status }) => status === 503)).toHaveLength(2);
    expect((await fetch(`${api.url}/health/live`)).status).toBe(200);
    proxy.resume();
    await waitFor('an order to be placed', async () => (await place(api, 'eve')).status === 201);
  });

  it('whose answer to COMMIT is lost answers 504, and the key finds the order that was stored', async () => {
    proxy.onServerData(() => 'cut');
    expectUnknown(await place(api, 'lost', { 'idempotency-key': 'k' }));
    proxy.onServerData(undefined);
    const again = await waitFor('the database', async () => {
      const answer = await place(api, 'lost', { 'idempotency-key': 'k' });
      return answer.status >= 500 ? undefined : answer;
    });
    expect(again.status).toBe(200);
    expect((await readOrders()).filter(({ user_id }) => user_id === 'lost')).toEqual([
      { order_id: again.body.orderId, user_id: 'lost', items: 1 },
    ]);
  });
});

describe('a database that is busy', () => {
  let other: pg.Client;
  /** pg_stat_activity stands still within a transaction. */
  let observer: pg.Client;

  beforeEach(async () => {
    other = await connectTo(postgres.url(database));
    observer = await connectTo(postgres.url(database));
  });
  afterEach(() => Promise.all([other.end(), observer.end()]));

  it('is asked over a bounded number of connections, and who gets none in time is answered with 503', async () => {
    const api = await start({
      ORDER_DATABASE_POOL_SIZE: '2',
      ORDER_DATABASE_ACQUIRE_TIMEOUT_MS: '300',
      ORDER_DATABASE_LOCK_TIMEOUT_MS: '1000',
    });
    await api.waitReady();
    await other.query('BEGIN');
    await other.query('LOCK TABLE orders IN SHARE MODE');
    const placing = Promise.all(Array.from({ length: 10 }, () => place(api)));
    await waitFor('two connections that wait', async () => {
      const { rows } = await observer.query(
        `SELECT count(*)::int AS all, count(*) FILTER (WHERE wait_event_type = 'Lock')::int AS waiting
         FROM pg_stat_activity WHERE application_name = 'tillstream-order-api' AND datname = $1`,
        [database],
      );
      expect(rows[0].all).toBeLessThanOrEqual(2);
      return rows[0].waiting === 2;
    });
    for (const answer of await placing) expectUnavailable(answer);
    await other.query('ROLLBACK');
    expect(await readOrders()).toEqual([]);
    expect((await place(api)).status).toBe(201);
  });

  it('is waited for by SIGTERM: the running order is answered, then the service ends with 0', async () => {
    const api = await start();
    await api.waitReady();
    await other.query('BEGIN');
    await other.query('LOCK TABLE orders IN SHARE MODE');
    const placing = place(api);
    await waitFor('the order to wait', async () => {
      const { rows } = await observer.query(`SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'`);
      return rows.length > 0;
    });
    const stopping = api.stop();
    await api.waitForLog('service.stopping');
    await other.query('ROLLBACK');
    expect((await placing).status).toBe(201);
    expect(await stopping).toMatchObject({ code: 0 });
    expect(await readOrders()).toHaveLength(1);
  });
});

describe('the start of order-api', () => {
  it('migrates once, however many start at the same time', async () => {
    const services = await Promise.all([start(), start(), start()]);
    await Promise.all(services.map((api) => api.waitReady()));
    for (const api of services) expect((await place(api)).status).toBe(201);
    const migrations = readdirSync('order-api/migrations').length;
    const applied = services.flatMap(({ logs }) => logs.filter(({ event }) => event === 'migration.applied'));
    expect(applied).toHaveLength(migrations);
  });

  it('with MIGRATE=off leaves the database alone, and is ready when someone has migrated it', async () => {
    const api = await start({ MIGRATE: 'off' });
    await api.waitForLog('service.listening');
    expect((await api.ready()).status).toBe(503);
    const { rows } = await withServer(postgres.url(database), (client) =>
      client.query(`SELECT FROM pg_class WHERE relnamespace = 'public'::regnamespace`),
    );
    expect(rows).toEqual([]);
    await migrateTestOrders(postgres.url(database));
    await api.waitReady();
    expect((await place(api)).status).toBe(201);
  });

  it('waits by the name of the migration that the database refuses, changes nothing, and goes on once it can', async () => {
    await withServer(postgres.url(database), (client) => client.query('CREATE TABLE order_items (mine int)'));
    const api = await start();
    expect((await api.waitForLog('pipeline.waiting')).msg).toContain('Migration 0001_orders.sql failed');
    expect(await api.ready()).toMatchObject({ status: 503, body: { state: 'waiting', name: 'MIGRATION_FAILED' } });
    const { rows } = await withServer(postgres.url(database), (client) =>
      client.query(`SELECT to_regclass('public.orders') AS orders`),
    );
    expect(rows).toEqual([{ orders: null }]);
    await withServer(postgres.url(database), (client) => client.query('DROP TABLE order_items'));
    await api.waitReady();
  });

  it('waits with the repair while a publication of that name leaves something out', async () => {
    await migrateTestOrders(postgres.url(database), 'other');
    await withServer(postgres.url(database), (client) =>
      client.query('CREATE PUBLICATION tillstream FOR TABLE orders'),
    );
    const api = await start();
    expect((await api.waitForLog('pipeline.waiting')).msg).toContain('DROP PUBLICATION');
  });

  it('ends with 78 and all problems when it is badly configured', async () => {
    const api = await start({ ORDER_DATABASE_URL: 'nowhere', MIGRATE: 'perhaps', PUBLICATION_NAME: 'A' });
    expect(await api.exited).toMatchObject({ code: 78 });
    const output = api.output.join('\n');
    for (const name of ['ORDER_DATABASE_URL', 'MIGRATE', 'PUBLICATION_NAME']) expect(output).toContain(name);
    expect(output).not.toContain('nowhere');
  });
});
