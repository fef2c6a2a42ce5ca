// Settings that a role or a database brings along, one by one for every kind of session, and all at once under the three
// services and the tools: each session sets what it depends on, whatever others need.

import { sql } from '@databases/pg';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createDatabase } from '#service/database.ts';
import { migrate } from '#service/migrate.ts';
import { serverOf } from '#service/postgres/database-server.ts';
import { migrateCarts } from '../../../cart-sink/migrate-carts.ts';
import { createSlot } from '../../../cdc-reader/postgres/slot.ts';
import { readSnapshotOrders } from '../../../cdc-reader/postgres/snapshot.ts';
import { createSourceSession } from '../../../cdc-reader/postgres/source-session.ts';
import { createWindowSlotSession } from '../../../cdc-reader/replay-window/window-slot.ts';
import { createOrderLoad } from '../../support/load/order-load.ts';
import { silent } from '../../support/postgres/cart-database.ts';
import { migrateTestOrders } from '../../support/postgres/order-database.ts';
import { runTool } from '../../support/process/tool-process.ts';
import { createTestEnvironment, type TestEnvironment, withServer } from '../../support/stack/environment.ts';
import { waitFor } from '../../support/wait.ts';

const SETTINGS: Readonly<Record<string, string>> = {
  DateStyle: 'German, DMY',
  IntervalStyle: 'iso_8601',
  TimeZone: 'Asia/Kathmandu',
  bytea_output: 'escape',
  extra_float_digits: '-15',
  standard_conforming_strings: 'off',
  quote_all_identifiers: 'on',
  array_nulls: 'off',
  transform_null_equals: 'on',
  client_encoding: 'LATIN1',
  search_path: 'shop, public',
  default_transaction_isolation: 'serializable',
  default_transaction_read_only: 'on',
  default_transaction_deferrable: 'on',
  row_security: 'on',
  session_replication_role: 'replica',
  statement_timeout: '200ms',
  lock_timeout: '5ms',
  idle_in_transaction_session_timeout: '5ms',
  transaction_timeout: '200ms',
  exit_on_error: 'on',
};

const ORDERS = 10_000;

let environment: TestEnvironment;
let role: string;
const as = (user: string, url: string): string => Object.assign(new URL(url), { username: user }).href;

beforeAll(async () => {
  environment = await createTestEnvironment('settings');
  role = `role_${environment.id}`;
  const { env, servers } = environment;
  for (const url of new Set([servers.orderServerUrl, servers.cartServerUrl])) {
    await withServer(url, (client) => client.query(`CREATE ROLE ${role} LOGIN SUPERUSER`));
  }
  for (const url of [env.ORDER_DATABASE_URL, env.CART_DATABASE_URL]) {
    await withServer(url, (client) =>
      client.query(
        'CREATE SCHEMA shop CREATE TABLE cart_lines (id int) CREATE TABLE orders (id int) CREATE TABLE consumer_offsets (id int)',
      ),
    );
  }
});
afterEach(async () => {
  await environment.stopServices();
  for (const url of [environment.servers.orderServerUrl, environment.servers.cartServerUrl]) {
    await withServer(url, (client) => client.query(`ALTER ROLE ${role} RESET ALL`));
  }
});
afterAll(async () => {
  const { servers } = environment;
  await environment.cleanUp();
  for (const url of [servers.orderServerUrl, servers.cartServerUrl]) {
    await withServer(url, (client) => client.query(`DROP ROLE IF EXISTS ${role}`));
  }
});

async function setForRole(settings: Readonly<Record<string, string>>): Promise<void> {
  const { orderServerUrl, cartServerUrl } = environment.servers;
  for (const url of new Set([orderServerUrl, cartServerUrl])) {
    await withServer(url, async (client) => {
      for (const [name, value] of Object.entries(settings)) {
        const text = name === 'search_path' ? value : client.escapeLiteral(value);
        await client.query(`ALTER ROLE ${role} SET ${name} = ${text}`);
      }
    });
  }
}

describe('each session sets for itself', () => {
  beforeAll(async () => {
    await migrateTestOrders(environment.env.ORDER_DATABASE_URL, environment.env.PUBLICATION_NAME);
    await migrateCarts({ postgres: serverOf(environment.env.CART_DATABASE_URL), logger: silent });
  });

  it.each(Object.keys(SETTINGS))('%s', async (name) => {
    await setForRole({ [name]: SETTINGS[name]! });
    const { env } = environment;
    const databaseUrl = as(role, env.ORDER_DATABASE_URL);
    const applicationName = 'settings-test';
    const database = createDatabase({
      postgres: serverOf(databaseUrl),
      applicationName,
      poolSize: 1,
      statementTimeoutMs: 60_000,
      lockTimeoutMs: 50_000,
      idleInTransactionTimeoutMs: 40_000,
      connectTimeoutMs: 5_000,
      acquireTimeoutMs: 10_000,
      logger: silent,
    });
    const [shown] = await database.pool.query(sql`SELECT
      '2026-11-27 12:00:00+00'::timestamptz::text AS time, '1 day 2 hours'::interval::text AS interval, '\\x01'::bytea::text AS bytes,
      0.1::float8::text AS float, ${'a\\b'}::text AS backslash, ${[null, 'NULL']}::text[] AS nulls, 'ä'::text AS umlaut,
      current_setting('statement_timeout') AS statement, current_setting('lock_timeout') AS lock,
      current_setting('transaction_isolation') AS isolation, current_setting('transaction_read_only') AS read_only,
      (SELECT count(*)::int FROM order_items) AS items`);
    expect(shown).toEqual({
      time: '2026-11-27 12:00:00+00',
      interval: '1 day 02:00:00',
      bytes: '\\x01',
      float: '0.1',
      backslash: 'a\\b',
      nulls: [null, 'NULL'],
      umlaut: 'ä',
      statement: '1min',
      lock: '50s',
      isolation: 'read committed',
      read_only: 'off',
      items: 0,
    });
    await database.close();

    const ends: Error[] = [];
    const session = await createSourceSession({
      postgres: serverOf(databaseUrl),
      applicationName,
      onEnd: (error) => ends.push(error),
    });
    const facts = await session.preflightFacts({ slotName: env.SLOT_NAME, publicationName: env.PUBLICATION_NAME });
    expect(facts.tables.orders?.columns.map(({ type }) => type)).toContain('uuid');
    const slotName = env.SLOT_NAME;
    const slot = await createSlot({
      postgres: serverOf(databaseUrl),
      slotName,
      applicationName,
      serverVersion: facts.serverVersion,
    });
    const orders = readSnapshotOrders({
      postgres: serverOf(databaseUrl),
      applicationName,
      snapshotName: slot.snapshotName,
      batchSize: 10,
    });
    expect(await Array.fromAsync(orders)).toEqual([]);
    const names = { liveSlotName: slotName, windowSlotName: `${slotName}_window` };
    const window = await createWindowSlotSession({ postgres: serverOf(databaseUrl), applicationName, ...names });
    await window.readFacts();
    await window.close();
    await slot.close();
    await session.close();
    expect(ends).toEqual([]);
    await withServer(env.ORDER_DATABASE_URL, (client) =>
      client.query('SELECT pg_drop_replication_slot($1)', [slotName]),
    );
    expect(await migrateCarts({ postgres: serverOf(as(role, env.CART_DATABASE_URL)), logger: silent })).toEqual([]);
  });
});

/** Sets it for everybody in this database. */
async function setForDatabase(url: string, settings: Readonly<Record<string, string>>): Promise<void> {
  const server = Object.assign(new URL(url), { pathname: '/postgres' }).href;
  await withServer(server, async (client) => {
    for (const [name, value] of Object.entries(settings)) {
      const text = name === 'search_path' ? value : client.escapeLiteral(value);
      await client.query(`ALTER DATABASE ${new URL(url).pathname.slice(1)} SET ${name} = ${text}`);
    }
  });
}

describe('all of them together', () => {
  it.each(['role', 'database'])(
    'of a %s change nothing for order-api, reader, sink, audit and replay, from an empty database on',
    async (whose) => {
      const fresh = await createTestEnvironment('settings_all');
      try {
        const { env } = fresh;
        for (const url of [env.ORDER_DATABASE_URL, env.CART_DATABASE_URL]) {
          await withServer(url, (client) =>
            client.query('CREATE SCHEMA shop CREATE TABLE cart_lines (id int) CREATE TABLE orders (id int)'),
          );
        }
        if (whose === 'role') await setForRole(SETTINGS);
        else {
          await setForDatabase(env.ORDER_DATABASE_URL, SETTINGS);
          await setForDatabase(env.CART_DATABASE_URL, SETTINGS);
        }
        const own = {
          ORDER_DATABASE_URL: as(role, env.ORDER_DATABASE_URL),
          CART_DATABASE_URL: as(role, env.CART_DATABASE_URL),
        };
        const shop = await fresh.startService('order-api', own);
        const sink = await fresh.startService('cart-sink', own);
        await shop.waitReady({ deadlineMs: 60_000 });
        await sink.waitReady({ deadlineMs: 60_000 });
        const post = async (url: string, body: object): Promise<number> => {
          const headers = { 'content-type': 'application/json' };
          return (await fetch(url, { method: 'POST', headers, body: JSON.stringify(body) })).status;
        };
        expect(await post(`${sink.url}/carts/ann/lines`, { sku: 'tea', quantity: 3 })).toBe(201);
        const items = [{ sku: 'tea', quantity: 2, unitPriceCents: 1 }];
        expect(await post(`${shop.url}/orders`, { userId: 'ann', items })).toBe(201);
        const reader = await fresh.startService('cdc-reader', own);
        await reader.waitForLog('reader.streaming', { deadlineMs: 60_000 });
        await waitFor(
          'the tea to leave the cart',
          async () => {
            const { lines } = (await (await fetch(`${sink.url}/carts/ann`)).json()) as {
              lines: { quantity: number }[];
            };
            return lines[0]?.quantity === 1;
          },
          { deadlineMs: 60_000 },
        );
        const tools = { ...env, ...own };
        expect(await runTool('audit', ['--wait-seconds', '60'], tools)).toMatchObject({ code: 0 });
        const replay = ['--source', 'tables', '--yes'];
        expect(await runTool('replay', replay, tools)).toMatchObject({ code: 0 });
      } finally {
        await fresh.cleanUp();
      }
    },
  );
});

describe('a first start', () => {
  it('reads thousands of orders whatever limits the role has', async () => {
    const fresh = await createTestEnvironment('settings_first');
    try {
      const { env } = fresh;
      await migrateTestOrders(env.ORDER_DATABASE_URL, env.PUBLICATION_NAME);
      const load = await createOrderLoad({ ordersUrl: env.ORDER_DATABASE_URL });
      await load.copyTogether({ first: 0, count: ORDERS });
      await load.close();
      await setForRole({
        statement_timeout: '20ms',
        lock_timeout: '5ms',
        idle_in_transaction_session_timeout: '5ms',
        transaction_timeout: '50ms',
      });
      const reader = await fresh.startService('cdc-reader', { ORDER_DATABASE_URL: as(role, env.ORDER_DATABASE_URL) });
      await reader.waitForLog('reader.streaming', { deadlineMs: 100_000 });
      expect(reader.logs.filter(({ event }) => event === 'reader.restarting')).toEqual([]);
    } finally {
      await fresh.cleanUp();
    }
  });
});

describe('tables of an earlier version in another schema', () => {
  it('are refused by name, since an empty ledger beside them would take goods twice', async () => {
    const { env } = environment;
    const url = env.CART_DATABASE_URL;
    await withServer(url, (client) =>
      client.query('CREATE SCHEMA other; CREATE TABLE other.tillstream_migrations (id int)'),
    );
    await withServer(url, (client) =>
      client.query('ALTER TABLE IF EXISTS public.tillstream_migrations RENAME TO aside'),
    );
    await setForRole({ search_path: 'other, public' });
    const attempt = migrate({ postgres: serverOf(as(role, url)), directory: 'cart-sink/migrations', logger: silent });
    await expect(attempt).rejects.toMatchObject({
      code: 'TABLES_ELSEWHERE',
      message: expect.stringContaining('schema other'),
    });
  });
});
