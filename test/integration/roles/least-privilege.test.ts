// The whole pipeline under the roles of ops/postgres/roles.sql, behind a migrate step: an order leaves the cart, the audit
// agrees; and each role is refused what it must not do.
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  applyRoles,
  asRole,
  type RoleName,
  type RoleServer,
  refusalOf,
  startRoleServer,
} from '../../support/postgres/role-servers.ts';
import { runTool } from '../../support/process/tool-process.ts';
import { createTestEnvironment, type TestEnvironment, withServer } from '../../support/stack/environment.ts';
import { startReader, startSink } from '../../support/stack/start-services.ts';
import { waitFor } from '../../support/wait.ts';

const INSUFFICIENT_PRIVILEGE = '42501';
const repository = join(import.meta.dirname, '..', '..', '..');

let server: RoleServer;
let environment: TestEnvironment;
let urls: { orders: string; carts: string };

beforeAll(async () => {
  server = await startRoleServer('least-privilege');
  environment = await createTestEnvironment('least_privilege', server.servers);
  const { ORDER_DATABASE_URL: orders, CART_DATABASE_URL: carts } = environment.env;
  urls = { orders, carts };
  await applyBoth();
  await migrate();
  await applyBoth();
});
afterAll(async () => {
  await environment?.cleanUp();
  await server?.close();
});

async function applyBoth(): Promise<void> {
  for (const url of [urls.orders, urls.carts]) await applyRoles(url, environment.env.PUBLICATION_NAME);
}

/** As an administrator does it: npm run migrate as migrator. */
async function migrate(): Promise<string> {
  const env = {
    PATH: process.env.PATH,
    ORDER_DATABASE_URL: asRole(urls.orders, 'migrator'),
    CART_DATABASE_URL: asRole(urls.carts, 'migrator'),
    PUBLICATION_NAME: environment.env.PUBLICATION_NAME,
  };
  const { stdout } = await promisify(execFile)(process.execPath, [join(repository, 'tools', 'migrate.ts')], { env });
  return stdout;
}

const request = async (url: string, body: object): Promise<Record<string, unknown>> => {
  const answer = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'idempotency-key': 'once' },
    body: JSON.stringify(body),
  });
  expect(answer.status).toBe(201);
  return (await answer.json()) as Record<string, unknown>;
};

describe('the pipeline under its roles', () => {
  it('takes an ordered line out of the cart, and the auditor finds nothing', async () => {
    const more = { MIGRATE: 'off' };
    const orderApi = await environment.startService('order-api', {
      ...more,
      ORDER_DATABASE_URL: asRole(urls.orders, 'order_api'),
    });
    const reader = await startReader(environment, {
      more: { ...more, ORDER_DATABASE_URL: asRole(urls.orders, 'reader') },
    });
    const asSink = { more: { ...more, CART_DATABASE_URL: asRole(urls.carts, 'cart_sink') } };
    const faulty = await startSink(environment, { ...asSink, wrongRule: true });
    await Promise.all([
      orderApi.waitReady(),
      faulty.waitReady(),
      reader.waitForLog('reader.streaming', { deadlineMs: 60_000 }),
    ]);
    await request(`${faulty.url}/carts/ada/lines`, { sku: 'tea', quantity: 3 });
    await request(`${faulty.url}/carts/bob/lines`, { sku: 'tea', quantity: 3 });
    const line = { sku: 'tea', quantity: 3, unitPriceCents: 499 };
    const order = await request(`${orderApi.url}/orders`, { userId: 'ada', items: [line] });
    await request(`${orderApi.url}/orders`, { userId: 'bob', items: [{ ...line, quantity: 1 }] });
    const paid = await fetch(`${orderApi.url}/orders/${order.orderId}/payment`, { method: 'POST' });
    expect(paid.status).toBeLessThan(300);
    const held = (user: string) =>
      withServer(urls.carts, async (client) => {
        const { rows } = await client.query('SELECT quantity FROM cart_lines WHERE user_id = $1', [user]);
        return rows.map(({ quantity }) => quantity);
      });
    const left = (ada: number[], bob: number[]) =>
      waitFor(
        'the orders to leave the carts',
        async () => JSON.stringify([await held('ada'), await held('bob')]) === JSON.stringify([ada, bob]),
        { deadlineMs: 30_000 },
      );
    await left([], [1]);
    await faulty.stop();
    const sink = await startSink(environment, asSink);
    await sink.waitReady();

    // A replay is an operator's: what it changes is the reader's and migrator's to change.
    const windowFrom = await waitFor('the replay window', () =>
      withServer(urls.orders, async (client) => {
        const text = 'SELECT confirmed_flush_lsn::text AS lsn FROM pg_replication_slots WHERE slot_name = $1';
        return (await client.query(text, [`${environment.env.SLOT_NAME}_window`])).rows[0]?.lsn as string | undefined;
      }),
    );
    for (const source of [['kafka', '--from-lsn', '0/1'], ['tables'], ['wal', '--from-lsn', windowFrom]]) {
      const replay = await runTool('replay', ['--source', ...source, '--mode', 'reapply', '--yes'], {
        ...environment.env,
        ORDER_DATABASE_URL: asRole(urls.orders, 'reader'),
        CART_DATABASE_URL: asRole(urls.carts, 'migrator'),
      });
      expect(replay.code, `${source}: ${replay.stdout}${replay.stderr}`).toBe(0);
      await left([], [2]);
    }

    const audit = await runTool('audit', ['--wait-seconds', '30'], {
      ...environment.env,
      ORDER_DATABASE_URL: asRole(urls.orders, 'auditor'),
      CART_DATABASE_URL: asRole(urls.carts, 'auditor'),
    });
    expect(audit, audit.stdout).toMatchObject({ code: 0 });

    // Nothing failed on the way for want of a privilege, and the reader's role has all that it can use.
    const entries = [orderApi, reader, faulty, sink].flatMap(({ logs }) => logs.map((entry) => JSON.stringify(entry)));
    expect(entries.filter((text) => /42501|permission denied|privilege-missing/.test(text))).toEqual([]);
    // The next version migrates as migrator beside them, and needs nothing of a superuser but the roles again.
    expect(await migrate()).toMatch(/up to date[\s\S]*up to date/);
  });

  it('serves the cart API alone as cart_api, which reads whether the database is migrated', async () => {
    const { checkTables } = await import('../../../cart-sink/sql/check-tables.ts');
    const text = checkTables.format({
      escapeIdentifier: (name) => name,
      formatValue: () => ({ placeholder: '', value: null }),
    }).text;
    const statements = [
      text,
      "INSERT INTO cart_lines (line_id, user_id, sku, quantity) SELECT gen_random_uuid(), 'eve', 'tea', 1 WHERE cart_has_room('eve', 5)",
      "INSERT INTO cart_line_keys (user_id, idempotency_key, sku, added, line_id, line_quantity, line_created_at) VALUES ('eve', 'k', 'tea', 1, gen_random_uuid(), 1, now())",
      'UPDATE cart_lines SET quantity = 2; DELETE FROM cart_lines; SELECT * FROM cart_line_keys',
    ];
    for (const statement of statements)
      expect(await refusalOf(urls.carts, 'cart_api', statement), statement).toBeUndefined();
  });
});

/** docs/failures.md, "A role does what it must not do", lists the same. */
const refused: readonly [RoleName, 'orders' | 'carts', string, string][] = [
  ['order_api', 'orders', 'remove an order', 'DELETE FROM orders'],
  ['order_api', 'orders', 'change anything but the status', "UPDATE orders SET user_id = 'eve'"],
  ['order_api', 'orders', 'change an item', 'UPDATE order_items SET quantity = 1'],
  ['order_api', 'orders', 'empty a table', 'TRUNCATE orders'],
  [
    'order_api',
    'orders',
    'put a trigger on a table',
    'CREATE TRIGGER t BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION refuse_order_change()',
  ],
  ['order_api', 'orders', 'disable a trigger', 'ALTER TABLE orders DISABLE TRIGGER ALL'],
  ['order_api', 'orders', 'switch triggers off', 'SET session_replication_role = replica'],
  ['order_api', 'orders', 'create in the schema', 'CREATE TABLE public.mine ()'],
  [
    'order_api',
    'orders',
    'change a function',
    "CREATE OR REPLACE FUNCTION refuse_order_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
  ],
  ['order_api', 'orders', 'make a slot', "SELECT pg_create_logical_replication_slot('mine', 'pgoutput')"],
  ['order_api', 'orders', 'read what was migrated', 'SELECT FROM tillstream_migrations'],
  ['order_api', 'carts', 'read a cart', 'SELECT FROM cart_lines'],
  [
    'reader',
    'orders',
    'place an order',
    "INSERT INTO orders (order_id, user_id, total_cents) VALUES (gen_random_uuid(), 'eve', 1)",
  ],
  ['reader', 'orders', 'pay an order', "UPDATE orders SET status = 'paid'"],
  ['reader', 'orders', 'remove an item', 'DELETE FROM order_items'],
  ['reader', 'orders', 'create a publication', 'CREATE PUBLICATION mine FOR TABLE orders'],
  ['reader', 'orders', 'create in the schema', 'CREATE TABLE public.mine ()'],
  ['reader', 'carts', 'read a cart', 'SELECT FROM cart_lines'],
  ['cart_api', 'carts', 'move an offset', 'UPDATE consumer_offsets SET next_offset = 0'],
  ['cart_api', 'carts', 'read an offset', 'SELECT next_offset FROM consumer_offsets'],
  ['cart_api', 'carts', 'write the ledger', 'DELETE FROM applied_orders'],
  ['cart_api', 'carts', 'read who ordered', 'SELECT user_id FROM applied_orders'],
  ['cart_api', 'carts', 'read a parked record', 'SELECT value FROM parked_events'],
  ['cart_api', 'carts', 'give a line to another user', "UPDATE cart_lines SET user_id = 'eve'"],
  ['cart_api', 'carts', 'create in the schema', 'CREATE TABLE public.mine ()'],
  ['cart_api', 'orders', 'read an order', 'SELECT FROM orders'],
  ['cart_sink', 'carts', 'forget an applied order', 'DELETE FROM applied_orders'],
  ['cart_sink', 'carts', 'change who ordered', "UPDATE applied_orders SET user_id = 'eve'"],
  ['cart_sink', 'carts', 'change what was removed', 'UPDATE cart_removals SET removed = 0'],
  ['cart_sink', 'carts', 'decide about a parked record', "UPDATE parked_events SET outcome = 'discarded'"],
  ['cart_sink', 'carts', 'forget an offset', 'DELETE FROM consumer_offsets'],
  ['cart_sink', 'carts', 'write a replay run', "UPDATE replay_runs SET state = 'cancelled'"],
  ['cart_sink', 'carts', 'give a verdict', 'DELETE FROM verdicts'],
  ['cart_api', 'carts', 'read a verdict', 'SELECT FROM verdicts'],
  ['auditor', 'carts', 'remove a verdict', 'DELETE FROM verdicts'],
  ['cart_sink', 'carts', 'create in the schema', 'CREATE TABLE public.mine ()'],
  ['cart_sink', 'carts', 'drop a table', 'DROP TABLE cart_lines'],
  ['cart_sink', 'orders', 'read an order', 'SELECT FROM orders'],
  ['auditor', 'orders', 'pay an order', "UPDATE orders SET status = 'paid'"],
  ['auditor', 'orders', 'make a slot', "SELECT pg_create_logical_replication_slot('mine', 'pgoutput')"],
  ['auditor', 'carts', 'change a cart', 'DELETE FROM cart_lines'],
  ['auditor', 'carts', 'move an offset', 'UPDATE consumer_offsets SET next_offset = 0'],
  ['auditor', 'carts', 'read an idempotency key', 'SELECT idempotency_key FROM cart_line_keys'],
  ['migrator', 'orders', 'make a slot', "SELECT pg_create_logical_replication_slot('mine', 'pgoutput')"],
  ['migrator', 'orders', 'make a role', 'CREATE ROLE mine'],
  ['migrator', 'orders', 'switch triggers off', 'SET session_replication_role = replica'],
  ['migrator', 'carts', 'create a publication', 'CREATE PUBLICATION mine FOR TABLE cart_lines'],
  ['migrator', 'carts', 'read a file of the server', "SELECT pg_read_file('postgresql.conf')"],
];

describe('a role', () => {
  it.each(refused)('%s in the %s database may not %s', async (role, database, _what, text) => {
    expect(await refusalOf(urls[database], role, text)).toBe(INSUFFICIENT_PRIVILEGE);
  });

  it('that was granted more on a table loses it when roles.sql is run again', async () => {
    await withServer(urls.carts, (client) => client.query('GRANT ALL ON ALL TABLES IN SCHEMA public TO cart_api'));
    expect(await refusalOf(urls.carts, 'cart_api', 'DELETE FROM applied_orders')).toBeUndefined();
    await applyBoth();
    expect(await refusalOf(urls.carts, 'cart_api', 'DELETE FROM applied_orders')).toBe(INSUFFICIENT_PRIVILEGE);
  });

  it('finds no table of this name but its own in the trigger functions and in cart_has_room, whatever its search_path is', async () => {
    const query = `SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prolang IN
      (SELECT oid FROM pg_language WHERE lanname = 'plpgsql')
      AND NOT coalesce(proconfig @> ARRAY['search_path=pg_catalog, pg_temp'], false)`;
    for (const url of [urls.orders, urls.carts]) {
      expect((await withServer(url, (client) => client.query(query))).rows).toEqual([]);
    }
  });
});
