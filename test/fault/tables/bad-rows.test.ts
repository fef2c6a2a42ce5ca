// A transaction that can't be published halts the reader, and only what lies behind it waits for that: the whole
// transactions before it are published and acknowledged, at most up to its commit. Nothing of it, and nothing behind it,
// becomes visible, and a restart changes nothing (I1, I5, I11).
import { ConfigResourceTypes } from 'kafkajs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { withKafkaAdmin } from '../../support/kafka/admin.ts';
import type { Service } from '../../support/process/service-process.ts';
import { type CaptureStage, createCaptureStage, resumePaused } from '../../support/stack/capture-stage.ts';
import { readHalt, readPublished, requireNothingMore } from '../../support/stack/require-halted.ts';
import { waitPaused } from '../../support/stack/start-services.ts';
import { waitFor } from '../../support/wait.ts';

const MAX_MESSAGE_BYTES = 10_000;

interface BadTransaction {
  readonly name: string;
  readonly code: string;
  /** How the tables lose what refuses it; done before the reader starts. */
  readonly allow: string;
  readonly statements: string;
}

const order = (id: string, columns = '', values = '') =>
  `INSERT INTO orders (order_id, user_id, total_cents${columns}) VALUES (md5('${id}')::uuid, 'user-1', 600${values})`;
const item = (id: string, quantity = '1') =>
  `INSERT INTO order_items (order_id, line_no, sku, quantity, unit_price_cents) VALUES (md5('${id}')::uuid, 1, 'SKU-1', ${quantity}, 600)`;
const WITHOUT_ITEMS = 'ALTER TABLE orders DISABLE TRIGGER orders_have_items';
const WITHOUT_ORDER = 'ALTER TABLE order_items DISABLE TRIGGER order_items_come_with_their_order';
const ANY_TIME = 'ALTER TABLE orders DROP CONSTRAINT orders_placed_at_in_range';

/** The last one is of a time without end. */
const ordersUntilInfinity = (count: number) => `
  INSERT INTO orders (order_id, user_id, total_cents, placed_at)
  SELECT md5('huge' || i)::uuid, 'user-' || i, 600, CASE WHEN i = ${count} THEN 'infinity' ELSE now() END
  FROM generate_series(1, ${count}) AS i;
  INSERT INTO order_items (order_id, line_no, sku, quantity, unit_price_cents)
  SELECT md5('huge' || i)::uuid, 1, 'SKU-1', 1, 600 FROM generate_series(1, ${count}) AS i`;

const badTransactions: readonly BadTransaction[] = [
  { name: 'an order without items', code: 'ORDER_WITHOUT_ITEMS', allow: WITHOUT_ITEMS, statements: order('bad') },
  {
    name: 'a good order and one without items',
    code: 'ORDER_WITHOUT_ITEMS',
    allow: WITHOUT_ITEMS,
    statements: `${order('good')}; ${item('good')}; ${order('bad')}`,
  },
  { name: 'items without an order', code: 'ITEM_WITHOUT_ORDER', allow: WITHOUT_ORDER, statements: item('bad') },
  {
    name: 'an order of a time without end',
    code: 'ROW_NOT_PUBLISHABLE',
    allow: ANY_TIME,
    statements: `${order('good')}; ${item('good')}; ${order('bad', ', placed_at', ", 'infinity'")}; ${item('bad')}`,
  },
  {
    name: 'a quantity that the event has no room for',
    code: 'ROW_NOT_PUBLISHABLE',
    allow:
      'ALTER TABLE order_items ALTER quantity TYPE bigint; ALTER TABLE order_items DROP CONSTRAINT order_items_quantity_in_range',
    statements: `${order('bad')}; ${item('bad', '3000000000')}`,
  },
  {
    name: 'a quantity of nothing',
    code: 'ROW_NOT_PUBLISHABLE',
    allow: 'ALTER TABLE order_items DROP CONSTRAINT order_items_quantity_in_range',
    statements: `${order('bad')}; ${item('bad', '0')}`,
  },
  {
    name: 'a cart line that is no UUID',
    code: 'ROW_NOT_PUBLISHABLE',
    allow: 'ALTER TABLE order_items ALTER cart_line_id TYPE text',
    statements: `${order('bad')};
      INSERT INTO order_items (order_id, line_no, sku, quantity, unit_price_cents, cart_line_id) VALUES (md5('bad')::uuid, 1, 'SKU-1', 1, 600, 'line-7')`,
  },
  {
    name: 'a column without a value',
    code: 'ROW_NOT_PUBLISHABLE',
    allow: 'ALTER TABLE order_items ALTER sku DROP NOT NULL',
    statements: `${order('bad')}; INSERT INTO order_items (order_id, line_no, quantity, unit_price_cents) VALUES (md5('bad')::uuid, 1, 1, 600)`,
  },
  {
    name: 'an event larger than the topic takes',
    code: 'EVENT_TOO_LARGE',
    allow: 'SELECT 1',
    statements: `${order('bad')};
      INSERT INTO order_items (order_id, line_no, sku, quantity, unit_price_cents, cart_line_id)
      SELECT md5('bad')::uuid, k, md5('a' || k) || md5('b' || k), 1, 100, md5('c' || k)::uuid FROM generate_series(1, 500) AS k`,
  },
  {
    name: 'three hundred orders, the last of a time without end',
    code: 'ROW_NOT_PUBLISHABLE',
    allow: ANY_TIME,
    statements: ordersUntilInfinity(300),
  },
  {
    name: 'three hundred orders, the last without items',
    code: 'ORDER_WITHOUT_ITEMS',
    allow: WITHOUT_ITEMS,
    statements: `
      INSERT INTO orders (order_id, user_id, total_cents)
      SELECT md5('huge' || i)::uuid, 'user-' || i, 600 FROM generate_series(1, 300) AS i;
      INSERT INTO order_items (order_id, line_no, sku, quantity, unit_price_cents)
      SELECT md5('huge' || i)::uuid, 1, 'SKU-1', 1, 600 FROM generate_series(1, 299) AS i`,
  },
];

describe('a transaction that can not be published', () => {
  let stage: CaptureStage;
  beforeEach(async () => {
    stage = await createCaptureStage('bad_rows');
  });
  afterEach(() => stage.cleanUp());

  /** 300 orders are more than a group may hold, and their rows go to a file. */
  const more = { GROUP_MAX_ORDERS: '100', SPILL_BYTES: '1024' };
  const BEFORE = 20;

  const publishSome = async (failpoints?: string): Promise<Service> => {
    const reader = await stage.startStreaming({ more, ...(failpoints === undefined ? {} : { failpoints }) });
    await stage.load.insertTogether({ first: 0, count: BEFORE });
    await stage.requireClean();
    return reader;
  };
  const limitMessages = () =>
    withKafkaAdmin(stage.environment.servers.directBrokers, (admin) =>
      admin.alterConfigs({
        validateOnly: false,
        resources: [
          {
            type: ConfigResourceTypes.TOPIC,
            name: stage.environment.env.ORDERS_TOPIC,
            configEntries: [{ name: 'max.message.bytes', value: String(MAX_MESSAGE_BYTES) }],
          },
        ],
      }),
    );
  /** Three good transactions, the bad one, three behind it. Returns where the bad one ends. */
  const placeAround = async (statements: string): Promise<bigint> => {
    await stage.load.backlog({ first: 100, count: 3 });
    await stage.sql(statements);
    const endLsn = await stage.walEnd();
    await stage.load.backlog({ first: 200, count: 3 });
    return endLsn;
  };
  const requireHeld = async (reader: Service, code: string, endLsn: bigint, published: number): Promise<void> => {
    const { message } = await readHalt(reader, code);
    expect(message).not.toMatch(/restored/);
    expect(await readPublished(stage)).toHaveLength(published);
    expect(await stage.confirmedLsn()).toBeLessThan(endLsn);
    await reader.stop();
  };
  const named = badTransactions.map((one) => [one.name, one] as const);

  it.each(named)('of %s halts the reader once what precedes it in its group is published', async (_, bad) => {
    await stage.sql(bad.allow);
    const reader = await publishSome('reader.before-send=pause:2');
    await stage.load.backlog({ first: 50, count: 1 });
    if (bad.code === 'EVENT_TOO_LARGE') await limitMessages();
    await waitPaused(reader, 'reader.before-send');
    const endLsn = await placeAround(bad.statements);
    await waitFor('all of it to be sent', async () => {
      const [row] = await stage.sql(
        `SELECT pg_wal_lsn_diff(sent_lsn, '0/0')::text AS sent FROM pg_stat_replication
         WHERE application_name = 'tillstream-cdc-reader-${stage.environment.env.SLOT_NAME}'`,
      );
      return BigInt(row!.sent as string) >= endLsn;
    });
    resumePaused(reader);
    await requireHeld(reader, bad.code, endLsn, BEFORE + 4);
    const before = await readPublished(stage);
    await requireHeld(await stage.startReader({ more }), bad.code, endLsn, BEFORE + 4);
    await requireNothingMore(stage, before);
  });

  it.each(named)('of %s halts the reader that finds it at its start, likewise', async (_, bad) => {
    await stage.sql(bad.allow);
    await (await publishSome()).stop();
    if (bad.code === 'EVENT_TOO_LARGE') await limitMessages();
    const endLsn = await placeAround(bad.statements);
    await requireHeld(await stage.startReader({ more }), bad.code, endLsn, BEFORE + 3);
    await requireHeld(await stage.startReader({ more }), bad.code, endLsn, BEFORE + 3);
  });

  it('comes alone and halts the reader, which acknowledges nothing behind it however long it waits', async () => {
    await stage.sql(WITHOUT_ITEMS);
    const reader = await publishSome();
    await stage.sql(order('bad'));
    const endLsn = await stage.walEnd();
    await requireHeld(reader, 'ORDER_WITHOUT_ITEMS', endLsn, BEFORE);
    await requireHeld(await stage.startReader({ more }), 'ORDER_WITHOUT_ITEMS', endLsn, BEFORE);
  });

  it('and is huge stops at its last partial checkpoint, the same after a restart', async () => {
    await stage.sql(ANY_TIME);
    await (await publishSome()).stop();
    const endLsn = await placeAround(ordersUntilInfinity(500));
    const reader = await stage.startReader({ more, failpoints: 'reader.mid-transaction=pause' });
    await waitPaused(reader, 'reader.mid-transaction');
    const pausedAt = performance.now();
    // Half of Kafka's transaction timeout, after which the reader commits what it has sent.
    await waitFor('half of the timeout to pass', () => performance.now() - pausedAt > 2_600);
    resumePaused(reader);
    await readHalt(reader, 'ROW_NOT_PUBLISHABLE');
    const published = await readPublished(stage);
    expect(published.length).toBeGreaterThan(BEFORE + 3);
    expect(published.length).toBeLessThan(BEFORE + 3 + 500);
    await requireHeld(reader, 'ROW_NOT_PUBLISHABLE', endLsn, published.length);
    await requireHeld(await stage.startReader({ more }), 'ROW_NOT_PUBLISHABLE', endLsn, published.length);
  });

  it('gives way to the cause where a swap made it: the halt names the tables, and nothing is published', async () => {
    const reader = await publishSome('reader.before-send=pause:2');
    await stage.load.backlog({ first: 50, count: 1 });
    await waitPaused(reader, 'reader.before-send');
    await stage.load.backlog({ first: 100, count: 3 });
    await stage.sql(`
      ALTER TABLE orders RENAME TO orders_old; CREATE TABLE orders (LIKE orders_old INCLUDING ALL);
      SELECT order_load.place(1000)`);
    const endLsn = await stage.walEnd();
    resumePaused(reader);
    await requireHeld(reader, 'TABLES_CHANGED', endLsn, BEFORE + 1);
  });
});
