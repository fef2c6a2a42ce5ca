// `npm run find` and the reader's route beside a real pipeline: an order is followed from its row to its effect, and on the way it
// is found where it is: not published, not applied, parked, halted. What is shown is compared with the ledger and with Kafka.
import pg from 'pg';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { type OrderPath, orderPaths } from '#schemas/order-path.ts';
import {
  connectTo,
  insertItemRow,
  insertOrderRow,
  inTransaction,
  migrateTestOrders,
} from '../../support/postgres/order-database.ts';
import type { Service } from '../../support/process/service-process.ts';
import { runTool } from '../../support/process/tool-process.ts';
import { startTokenIssuer } from '../../support/security/token-issuer.ts';
import { createTestEnvironment, type TestEnvironment } from '../../support/stack/environment.ts';
import { startReader, startSink } from '../../support/stack/start-services.ts';
import { waitFor } from '../../support/wait.ts';

let environment: TestEnvironment;
let orders: pg.Client;
let carts: pg.Client;

beforeEach(async () => {
  environment = await createTestEnvironment('find');
  const { ORDER_DATABASE_URL, CART_DATABASE_URL, PUBLICATION_NAME } = environment.env;
  await migrateTestOrders(ORDER_DATABASE_URL, PUBLICATION_NAME);
  orders = await connectTo(ORDER_DATABASE_URL);
  carts = new pg.Client({ connectionString: CART_DATABASE_URL });
  await carts.connect();
});
afterEach(async () => {
  await Promise.all([orders.end(), carts.end()]);
  await environment.cleanUp();
});

const place = (change: Record<string, unknown> = {}) =>
  inTransaction(orders, async () => {
    const orderId = await insertOrderRow(orders, { user_id: 'ada', ...change });
    await insertItemRow(orders, orderId, { line_no: 1, sku: 'tea', quantity: 2 });
    return orderId;
  });

async function find(args: readonly string[], code: number): Promise<OrderPath[]> {
  const result = await runTool('find', [...args, '--json'], environment.env);
  if (result.code !== code)
    throw new Error(`find ${args} ended with ${result.code}:\n${result.stdout}${result.stderr}`);
  return orderPaths.parse(JSON.parse(result.stdout)).paths;
}

const findOne = async (orderId: string, code: number) => (await find([orderId], code))[0]!;

async function startStreaming(more: Record<string, string> = {}): Promise<Service> {
  const reader = await startReader(environment, { more });
  await reader.waitForLog('reader.streaming', { deadlineMs: 60_000 });
  return reader;
}

it('follows an order from its row to its effect, and the reader’s route shows the same', async () => {
  const sink = await startSink(environment);
  const reader = await startStreaming({ CART_SINK_OPERATIONS_URLS: sink.url });
  await sink.waitReady();
  await carts.query(
    `INSERT INTO cart_lines (line_id, user_id, sku, quantity) VALUES (gen_random_uuid(), 'ada', 'tea', 5)`,
  );
  for (let count = 0; count < 20; count += 1) await place({ user_id: `user-${count}` });
  const orderId = await place();
  const direct = await place({ source: 'direct' });
  for (let count = 0; count < 20; count += 1) await place({ user_id: `user-${count}` });
  await waitFor('the orders to be applied', async () => {
    const { rows } = await carts.query('SELECT count(*)::int AS orders FROM applied_orders');
    return rows[0].orders === 42;
  });

  const path = await findOne(orderId, 0);
  const { rows } = await orders.query('SELECT placed_xid::text AS xid FROM orders WHERE order_id = $1', [orderId]);
  expect(path).toMatchObject({ state: 'applied', order: { userId: 'ada', xid: rows[0].xid }, problems: [] });
  const ledger = await carts.query(
    `SELECT timeline || ':' || commit_lsn || ':' || ordinal AS position FROM applied_orders WHERE order_id = $1`,
    [orderId],
  );
  expect(path.event).toMatchObject({ position: ledger.rows[0].position, topic: environment.env.ORDERS_TOPIC });
  expect(path.carts!.applied).toMatchObject({ position: ledger.rows[0].position });
  expect(path.carts!.applied!.removals).toEqual([
    expect.objectContaining({ lineNo: 1, sku: 'tea', ordered: 2, removed: 2, outcome: 'removed' }),
  ]);
  expect(BigInt(path.partition!.nextOffset) > BigInt(path.event!.offset)).toBe(true);
  expect(path.partition).toMatchObject({ partition: path.event!.partition, halted: null });

  const [directPath] = (await find(['--user', 'ada'], 0)).filter((one) => one.orderId === direct);
  expect(directPath!.carts!.applied!.removals).toEqual([expect.objectContaining({ removed: 0, outcome: 'direct' })]);
  const commitLsn = path.event!.position.split(':')[1]!;
  expect((await find(['--lsn', commitLsn], 0)).map((one) => one.orderId)).toEqual([orderId]);
  const none = await runTool('find', ['--lsn', '0/1'], environment.env);
  expect(none).toMatchObject({
    code: 1,
    stdout: expect.stringMatching(/no order that committed at 0\/1; the next one is at 1:/),
  });
  expect((await findOne('00000000-0000-7000-8000-000000000000', 1)).state).toBe('missing');

  for (const query of [`order=${orderId}`, `lsn=${encodeURIComponent(commitLsn)}`]) {
    const answer = await fetch(`${reader.url}/operations/orders?${query}`);
    expect(answer.status).toBe(200);
    const [shown] = orderPaths.parse(await answer.json()).paths;
    expect({ ...shown, reader: null }).toEqual({ ...path, reader: null });
  }
  expect((await fetch(`${reader.url}/operations/orders?order=${orderId}&user=ada`)).status).toBe(400);
  await sink.stop();
  const away = orderPaths.parse(await (await fetch(`${reader.url}/operations/orders?order=${orderId}`)).json())
    .paths[0]!;
  expect(away).toMatchObject({ state: 'unknown', carts: null, event: { offset: path.event!.offset } });
  expect(away.problems.join()).toContain('did not answer');
});

it('finds an order that is not published, not applied, and behind a halt', async () => {
  const sink = await startSink(environment);
  await sink.waitReady();
  const unread = await place();
  expect(await findOne(unread, 69)).toMatchObject({ state: 'unknown', order: { userId: 'ada' } });
  const reader = await startStreaming();
  await waitFor(
    'the order to be applied',
    async () => (await carts.query('SELECT FROM applied_orders')).rowCount === 1,
  );
  await reader.stop();
  const waiting = await place();
  const shown = await findOne(waiting, 3);
  expect(shown).toMatchObject({ state: 'placed', event: null, reader: { active: false } });
  const text = await runTool('find', [waiting], environment.env);
  expect(text).toMatchObject({ code: 3, stdout: expect.stringContaining('no reader streams') });

  await sink.stop();
  await startStreaming();
  await waitFor('the order to be published', async () => (await findOne(waiting, 3)).state === 'published', {
    deadlineMs: 30_000,
  });
  const { event, partition } = await findOne(waiting, 3);
  expect(BigInt(partition!.nextOffset) <= BigInt(event!.offset)).toBe(true);
  await carts.query(
    `UPDATE consumer_offsets SET halted_code = 'SINK_DEFECT', halted_message = 'm', halted_at = now() WHERE partition = $1`,
    [event!.partition],
  );
  expect(await findOne(waiting, 3)).toMatchObject({
    state: 'halted',
    partition: { halted: { code: 'SINK_DEFECT', command: expect.stringContaining('npm run adopt -- sink --park') } },
  });
});

it('shows orders on other addresses to operators only, on the reader and on the sink', async () => {
  const issuer = await startTokenIssuer();
  const [operator, shopper] = await Promise.all([issuer.sign('root', 'operator'), issuer.sign('ada')]);
  const auth = {
    AUTH: 'jwt',
    AUTH_JWKS_URL: String(issuer.jwksUrl),
    AUTH_ISSUER: issuer.issuer,
    AUTH_AUDIENCE: issuer.audience,
  };
  const sink = await environment.startService(
    'cart-sink',
    { ...auth, HOST: '0.0.0.0' },
    { args: ['--only', 'consumer'] },
  );
  const orderId = await place();
  const reader = await startStreaming({
    ...auth,
    HOST: '0.0.0.0',
    CART_SINK_OPERATIONS_URLS: sink.url,
    OPERATIONS_TOKEN: operator,
  });
  await sink.waitReady();
  const ask = async (url: string, token?: string) =>
    fetch(url, { headers: token === undefined ? {} : { authorization: `Bearer ${token}` } });
  for (const url of [`${reader.url}/operations/orders?order=${orderId}`, `${sink.url}/operations/orders/${orderId}`]) {
    const statuses = [(await ask(url)).status, (await ask(url, shopper)).status, (await ask(url, operator)).status];
    expect([url, ...statuses]).toEqual([url, 401, 403, 200]);
  }
  expect((await ask(`${sink.url}/operations/carts`)).status).toBe(200);
  const answer = await ask(`${reader.url}/operations/orders?order=${orderId}`, operator);
  expect(orderPaths.parse(await answer.json()).paths[0]).toMatchObject({ orderId, problems: [], carts: { orderId } });
  issuer.close();
});
