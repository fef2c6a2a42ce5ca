// `npm run audit` as a process: on databases that were made to differ in every way, while the pipeline lags, and while
// orders are being placed.

import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { serverOf } from '#service/postgres/database-server.ts';
import { migrateCarts } from '../../../cart-sink/migrate-carts.ts';
import { silent } from '../../support/postgres/cart-database.ts';
import {
  insertItemRow,
  insertOrderRow,
  inTransaction,
  migrateTestOrders,
} from '../../support/postgres/order-database.ts';
import { runTool } from '../../support/process/tool-process.ts';
import { createDisasterStage, type DisasterStage } from '../../support/stack/disaster-stage.ts';
import { createTestEnvironment, type TestEnvironment } from '../../support/stack/environment.ts';
import { waitFor } from '../../support/wait.ts';

describe('an audit of two databases', () => {
  let environment: TestEnvironment;
  let orders: pg.Client;
  let carts: pg.Client;

  beforeEach(async () => {
    environment = await createTestEnvironment('audit');
    const { ORDER_DATABASE_URL, CART_DATABASE_URL, PUBLICATION_NAME } = environment.env;
    await migrateTestOrders(ORDER_DATABASE_URL, PUBLICATION_NAME);
    await migrateCarts({ postgres: serverOf(CART_DATABASE_URL), logger: silent });
    orders = new pg.Client({ connectionString: ORDER_DATABASE_URL });
    carts = new pg.Client({ connectionString: CART_DATABASE_URL });
    await Promise.all([orders.connect(), carts.connect()]);
  });
  afterEach(async () => {
    await Promise.all([orders.end(), carts.end()]);
    await environment.cleanUp();
  });

  const audit = (...args: string[]) => runTool('audit', args, environment.env);
  const place = (change: Record<string, unknown> = {}) =>
    inTransaction(orders, async () => {
      const orderId = await insertOrderRow(orders, change);
      await insertItemRow(orders, orderId, { line_no: 1, sku: 'tea', quantity: 2 });
      await insertItemRow(orders, orderId, { line_no: 2, sku: 'milk', quantity: 1 });
      return orderId;
    });
  const enter = (orderId: string, change: { user?: string; source?: string } = {}) =>
    carts.query(
      `INSERT INTO applied_orders (order_id, commit_lsn, timeline, ordinal, rule_version, user_id, source)
       VALUES ($1, '0/1', 1, 0, 1, $2, $3)`,
      [orderId, change.user ?? 'ada', change.source ?? 'cart'],
    );
  const remove = (orderId: string, rows: readonly (readonly [number, number, string, number, number])[]) =>
    carts.query(
      `INSERT INTO cart_removals (order_id, line_no, entry, sku, ordered, removed, outcome)
       SELECT $1, r.* , 'removed' FROM unnest($2::int[], $3::int[], $4::text[], $5::int[], $6::int[]) AS r`,
      [orderId, ...[0, 1, 2, 3, 4].map((column) => rows.map((row) => row[column]))],
    );
  const right = [
    [1, 0, 'tea', 2, 2],
    [2, 0, 'milk', 1, 0],
  ] as const;
  const apply = async (orderId: string, change = {}) => {
    await enter(orderId, change);
    await remove(orderId, right);
  };

  it('agrees about none, and about more than a fetch of its cursors holds', async () => {
    expect(await audit('--no-wait')).toMatchObject({ code: 0, stderr: '' });
    await orders.query('BEGIN');
    await orders.query(`INSERT INTO orders (order_id, user_id, total_cents)
      SELECT gen_random_uuid(), 'ada', 1 FROM generate_series(1, 2500)`);
    await orders.query(`INSERT INTO order_items (order_id, line_no, sku, quantity, unit_price_cents)
      SELECT order_id, k, 'sku-' || k, k, 1 FROM orders, generate_series(1, 3) AS k`);
    await orders.query('COMMIT');
    const { rows } = await orders.query<{ id: string }>('SELECT order_id AS id FROM orders');
    const ids = rows.map(({ id }) => id);
    await carts.query(
      `INSERT INTO applied_orders (order_id, commit_lsn, timeline, ordinal, rule_version, user_id, source)
       SELECT id, '0/1', 1, 0, 1, 'ada', 'cart' FROM unnest($1::uuid[]) AS id`,
      [ids],
    );
    await carts.query(
      `INSERT INTO cart_removals (order_id, line_no, sku, ordered, removed, outcome)
       SELECT id, k, 'sku-' || k, k, k, 'removed' FROM unnest($1::uuid[]) AS id, generate_series(1, 3) AS k`,
      [ids],
    );
    const { code, stdout } = await audit('--no-wait');
    expect(stdout).toMatch(/^orders +2500\nagreeing +2500\nmissing +0/m);
    expect(stdout).toContain('The two databases agree.');
    expect(code).toBe(0);
  });

  it('keeps its verdict, unless it compared at once and they differ, and warns where it can not', async () => {
    const kept = async () => (await carts.query('SELECT verdict FROM verdicts')).rows.map(({ verdict }) => verdict);
    await apply(await place());
    expect(await audit('--no-wait')).toMatchObject({ code: 0, stderr: '' });
    expect(await kept()).toEqual([{ orders: '1', differences: '0', verdict: 'agree' }]);
    const second = await place();
    const differ = await audit('--no-wait', '--json');
    expect(differ).toMatchObject({ code: 1, stderr: expect.stringContaining('The two databases differ.') });
    expect(JSON.parse(differ.stdout)).toMatchObject({ verdict: 'differ', orders: 2, missing: 1, kinds: {} });
    expect(await kept()).toEqual([{ orders: '1', differences: '0', verdict: 'agree' }]);
    await apply(second);
    await carts.query('DROP TABLE verdicts');
    const { code, stderr } = await audit('--no-wait');
    expect(code).toBe(0);
    expect(stderr).toBe(
      'audit: This verdict is not kept for the console (the table verdicts is missing: run npm run migrate).\n',
    );
  });

  it('finds every way in which they can differ, and names no user', async () => {
    await apply(await place());
    const missing = await place();
    const user = await place();
    await apply(user, { user: 'bob' });
    const source = await place({ source: 'direct' });
    await enter(source);
    await remove(source, [
      [1, 0, 'tea', 2, 0],
      [2, 0, 'milk', 1, 0],
    ]);
    const noItem = await place();
    await enter(noItem);
    await remove(noItem, [right[0]]);
    const extra = await place();
    await apply(extra);
    await remove(extra, [[3, 0, 'rum', 1, 1]]);
    const other = await place();
    await enter(other);
    await remove(other, [
      [1, 0, 'rum', 2, 2],
      [2, 0, 'milk', 3, 0],
    ]);
    const direct = await place({ source: 'direct' });
    await apply(direct, { source: 'direct' });
    const range = await place();
    await apply(range);
    await remove(range, [[1, 1, 'tea', 2, 1]]);
    const phantom = randomUUID();
    await apply(phantom);
    const stray = randomUUID();
    await remove(stray, [right[0]]);
    for (const offset of [3, 4]) {
      await carts.query(
        `INSERT INTO parked_events (consumer_group, topic, partition, "offset", key, value, reason)
         VALUES ('g', 't', 0, $1, 'k', 'bytes', 'because')`,
        [offset],
      );
    }

    const { code, stdout } = await audit('--no-wait', '--limit', '50');
    expect(code).toBe(1);
    expect(stdout).toMatch(/^orders +9\nagreeing +1\nmissing +1 .*\nphantom +1 .*\ndiffering +7$/m);
    const kinds = [...stdout.matchAll(/^ {2}([a-z-]+): (\d+)$/gm)].map(([, kind, count]) => `${kind} ${count}`);
    expect(kinds).toEqual([
      'direct-removed 1',
      'item-without-removal 1',
      'ordered 1',
      'removal-without-item 1',
      'removed-out-of-range 1',
      'sku 1',
      'source 1',
      'user 1',
    ]);
    expect(stdout).toMatch(/^stray removals +1/m);
    expect(stdout).toMatch(/^parked events +2 {2}1 of them copies/m);
    for (const id of [missing, user, source, noItem, extra, other, direct, range, phantom, stray]) {
      expect(stdout).toContain(`  ${id}: `);
    }
    expect(stdout).toContain(`${range}: line 1 (tea) ordered 2 and removed 3`);
    expect(stdout).toContain('npm run replay -- --source tables');
    expect(stdout).not.toMatch(/\b(ada|bob)\b/);

    const limited = await audit('--no-wait', '--limit', '2');
    expect(limited.stdout).toContain('the first 2 of 10:');
  });

  it('says how far the reader is when it does not pass the snapshot', async () => {
    await place();
    const { code, stdout } = await audit('--wait-seconds', '1');
    expect(code).toBe(3);
    expect(stdout).toMatch(/did not pass the snapshot at 0\/[0-9A-F]+ within 1 s/);
    expect(stdout).toContain('there is no checkpoint');
    expect(stdout).toContain('--no-wait');
  });

  it('ends with codes of its own for bad arguments, bad configuration and a server that is away', async () => {
    expect(await audit('--limit', 'all')).toMatchObject({ code: 64, stderr: expect.stringContaining('--limit') });
    const bad = await runTool('audit', [], { ...environment.env, CART_DATABASE_URL: 'mysql://me:secret@host/carts' });
    expect(bad).toMatchObject({ code: 78, stderr: expect.stringContaining('CART_DATABASE_URL') });
    expect(bad.stderr).not.toContain('secret');
    const away = { ...environment.env, CART_DATABASE_URL: 'postgres://me:secret@127.0.0.1:1/carts' };
    expect(await runTool('audit', ['--no-wait'], away)).toMatchObject({ code: 69, stdout: '' });
  });
});

describe('an audit of a pipeline with traffic', { timeout: 300_000 }, () => {
  let stage: DisasterStage;
  beforeEach(async () => {
    stage = await createDisasterStage('audited');
  });
  afterEach(() => stage.cleanUp());

  it('agrees while orders are being placed, and tells those after its snapshot from phantoms', async () => {
    await stage.startSink();
    await stage.startStreaming();
    const traffic = stage.startTraffic();
    await waitFor('some orders', async () => (await stage.carts('SELECT FROM applied_orders')).length > 20);
    await waitFor(
      'an audit during which orders were placed and applied',
      async () => {
        const { stdout } = await stage.run('audit', []);
        expect(stdout).toMatch(/^phantom +0 /m);
        return /^newer +[1-9]/m.test(stdout);
      },
      { deadlineMs: 60_000 },
    );
    await traffic.stop();
    await stage.requireWhole();
  });

  it('waits for a reader and a sink that lag, and says which one does not come', async () => {
    const sink = await stage.startSink();
    const reader = await stage.startStreaming();
    await stage.load.backlog({ first: 0, count: 50 });
    await stage.requireWhole();
    await reader.stop();
    await stage.load.backlog({ first: 50, count: 50 });
    const readerDown = await stage.run('audit', ['--wait-seconds', '1'], { code: 3 });
    expect(readerDown.stdout).toMatch(/the reader has published through .* nobody streams from the slot/);

    await sink.stop();
    await stage.startStreaming();
    const sinkDown = await stage.run('audit', ['--wait-seconds', '10'], { code: 3 });
    expect(sinkDown.stdout).toMatch(/the sink of partition \d is at offset \d+ of \d+: no sink is running/);
    expect(sinkDown.stderr).toMatch(/waiting for the sinks: \d of 6 partitions, \d+ records to go/);
    const differs = await stage.run('audit', ['--no-wait', '--limit', '0'], { code: 1 });
    expect(differs.stdout).toMatch(/^missing +50 /m);

    const waiting = stage.run('audit', ['--wait-seconds', '60']);
    await stage.startSink();
    expect((await waiting).stdout).toMatch(/^orders +100\nagreeing +100$/m);
  });
});
