// What the orders database itself refuses and permits, for every writer: plain SQL, no service involved (DESIGN: the
// domain). What gets in here becomes an event, so nothing that can't be delivered may get in.

import { randomUUIDv7 } from 'node:crypto';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type pg from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  connectTo,
  countRows,
  createOrderDatabase,
  insertItemRow,
  insertOrderRow,
  insertWholeOrder,
  inTransaction,
  migrateTestOrders,
} from '../../support/postgres/order-database.ts';

const CHECK_VIOLATION = '23514';

let database: Awaited<ReturnType<typeof createOrderDatabase>>;
let client: pg.Client;

beforeAll(async () => {
  database = await createOrderDatabase('order_rules');
  await migrateTestOrders(database.url);
  client = await connectTo(database.url);
});
afterAll(async () => {
  await client.end();
  await database.drop();
});

/** Expects `attempt`, in a transaction of its own, to be refused, and nothing to be stored. */
async function expectRefused(attempt: () => Promise<unknown>, error: object = { code: CHECK_VIOLATION }) {
  const before = await countRows(client);
  await expect(inTransaction(client, attempt)).rejects.toMatchObject(error);
  expect(await countRows(client)).toEqual(before);
}

async function copyRows(statement: string, lines: Iterable<string>): Promise<void> {
  await pipeline(Readable.from(lines), client.query(copyFrom(statement)));
}

describe('a row of orders', () => {
  it.each<[string, Record<string, unknown>]>([
    ['a user id with a space', { user_id: 'ada lovelace' }],
    ['an empty user id', { user_id: '' }],
    ['a user id of 65 characters', { user_id: 'a'.repeat(65) }],
    ['a user id that ends in a line feed', { user_id: 'ada\n' }],
    ['a user id with a letter that is not ASCII', { user_id: 'zoë' }],
    ['another status', { status: 'cancelled' }],
    ['another source', { source: 'phone' }],
    ['a currency in lower case', { currency: 'usd' }],
    ['a currency of two letters', { currency: 'US' }],
    ['a negative total', { total_cents: -1 }],
    ['an idempotency key with a space', { idempotency_key: 'a b' }],
    ['an empty idempotency key', { idempotency_key: '' }],
    ['an idempotency key of 256 characters', { idempotency_key: 'k'.repeat(256) }],
    ['an infinite time', { placed_at: 'infinity' }],
    ['a time of minus infinity', { placed_at: '-infinity' }],
    ['a time before Christ', { placed_at: '0044-03-15 BC' }],
    ['a time in a year of five digits', { placed_at: '10000-01-01' }],
    ['the largest time of Postgres', { placed_at: '294276-12-31 23:59:59.999999+00' }],
  ])('is refused with %s', async (_what, change) => {
    await expectRefused(async () => insertItemRow(client, await insertOrderRow(client, change)));
  });

  it('is refused without a user or a total', async () => {
    for (const change of [{ user_id: null }, { total_cents: null }, { status: null }, { placed_at: null }]) {
      await expectRefused(() => insertOrderRow(client, change), { code: '23502' });
    }
  });

  it('is stored at every limit, and by an id of any UUID version', async () => {
    await insertWholeOrder(client, {
      order_id: 'ffffffff-ffff-ffff-ffff-ffffffffffff',
      user_id: '._:-'.repeat(16),
      total_cents: '9223372036854775807',
      idempotency_key: '!'.repeat(255),
      placed_at: '1900-01-01 00:00:00+00',
    });
    await insertWholeOrder(client, { total_cents: 0, placed_at: '9998-12-31 23:59:59.999999+00' });
  });

  it('gets defaults for whatever a writer of the contract leaves out', async () => {
    const orderId = await insertWholeOrder(client);
    const { rows } = await client.query(
      'SELECT status, source, currency, idempotency_key, now() - placed_at < $2 AS fresh FROM orders WHERE order_id = $1',
      [orderId, '1 minute'],
    );
    expect(rows).toEqual([{ status: 'placed', source: 'cart', currency: 'USD', idempotency_key: null, fresh: true }]);
  });

  it('is refused when its user has used the idempotency key already', async () => {
    await insertWholeOrder(client, { user_id: 'bob', idempotency_key: 'once' });
    await expectRefused(() => insertWholeOrder(client, { user_id: 'bob', idempotency_key: 'once' }), { code: '23505' });
    await insertWholeOrder(client, { user_id: 'eve', idempotency_key: 'once' });
  });
});

describe('a row of order_items', () => {
  it.each<[string, Record<string, unknown>]>([
    ['line number 0', { line_no: 0 }],
    ['line number 501', { line_no: 501 }],
    ['a SKU with a space', { sku: 'green tea' }],
    ['an empty SKU', { sku: '' }],
    ['quantity 0', { quantity: 0 }],
    ['a negative quantity', { quantity: -1 }],
    ['quantity 1,000,001', { quantity: 1_000_001 }],
    ['a negative price', { unit_price_cents: -1 }],
    ['a price of 10,000,001 cents', { unit_price_cents: 10_000_001 }],
  ])('is refused with %s', async (_what, change) => {
    await expectRefused(async () => insertItemRow(client, await insertOrderRow(client), change));
  });

  it('is stored at every limit, 500 an order', async () => {
    await inTransaction(client, async () => {
      const orderId = await insertOrderRow(client);
      await client.query(
        `INSERT INTO order_items (order_id, line_no, sku, quantity, unit_price_cents)
         SELECT $1, line_no, repeat('s', 64), 1000000, 10000000 FROM generate_series(1, 500) AS line_no`,
        [orderId],
      );
    });
  });

  it('is refused when the line number is taken', async () => {
    await expectRefused(
      async () => {
        const orderId = await insertOrderRow(client);
        await insertItemRow(client, orderId);
        await insertItemRow(client, orderId);
      },
      { code: '23505' },
    );
  });
});

describe('an order and its items', () => {
  it('come in one transaction: items of a later one are refused', async () => {
    const orderId = await insertWholeOrder(client);
    await expectRefused(() => insertItemRow(client, orderId, { line_no: 2 }));
  });

  it('come in one transaction: items of another one are refused while the first is still open', async () => {
    const other = await connectTo(database.url);
    try {
      await other.query('BEGIN');
      const orderId = await insertOrderRow(other);
      await insertItemRow(other, orderId);
      await expectRefused(() => insertItemRow(client, orderId, { line_no: 2 }));
      await other.query('COMMIT');
    } finally {
      await other.end();
    }
  });

  it('come in one transaction: items of no order are refused', async () => {
    await expectRefused(() => insertItemRow(client, randomUUIDv7()));
  });

  it('come in one transaction: one late item among many good ones is found', async () => {
    const late = await insertWholeOrder(client);
    await expectRefused(async () => {
      const orderId = await insertOrderRow(client);
      await client.query(
        `INSERT INTO order_items (order_id, line_no, sku, quantity, unit_price_cents)
         SELECT CASE line_no WHEN 57 THEN $2::uuid ELSE $1::uuid END, line_no, 'tea', 1, 1
         FROM generate_series(1, 100) AS line_no`,
        [orderId, late],
      );
    });
  });

  it('can not be tied together by a placed_xid that a writer makes up', async () => {
    const next = '(pg_current_xact_id()::text::bigint + 1)::text::xid8';
    for (const lie of [next, `'3'::xid8`]) {
      const insertLie = async () => {
        const orderId = randomUUIDv7();
        const statement = `INSERT INTO orders (order_id, user_id, total_cents, placed_xid) VALUES ($1, 'ada', 1, ${lie})`;
        await client.query(statement, [orderId]);
        return orderId;
      };
      await expectRefused(insertLie);
      await expectRefused(async () => insertItemRow(client, await insertLie()));
    }
    const orderId = await insertWholeOrder(client);
    await expectRefused(() =>
      client.query(`UPDATE orders SET placed_xid = pg_current_xact_id() WHERE order_id = $1`, [orderId]),
    );
  });

  it('come together: an order without items is refused at commit', async () => {
    await expectRefused(() => insertOrderRow(client));
    await expectRefused(async () => {
      await insertItemRow(client, await insertOrderRow(client));
      await insertOrderRow(client);
    });
  });

  it('come together: an order without items is refused when constraints are made immediate, or prepared', async () => {
    await expectRefused(async () => {
      await insertOrderRow(client);
      await client.query('SET CONSTRAINTS ALL IMMEDIATE');
    });
    await expectRefused(async () => {
      await insertOrderRow(client);
      await client.query(`PREPARE TRANSACTION 'without_items'`);
    });
  });

  it('can not be faked by temporary tables of the same names', async () => {
    await expectRefused(async () => {
      await client.query('CREATE TEMP TABLE order_items (order_id uuid) ON COMMIT DROP');
      const { rows } = await client.query(
        `INSERT INTO public.orders (order_id, user_id, total_cents) VALUES ($1, 'ada', 1) RETURNING order_id`,
        [randomUUIDv7()],
      );
      await client.query('INSERT INTO order_items VALUES ($1)', [rows[0].order_id]);
    });
  });

  it('may be written by a role that can do nothing but insert, which is held to the same rules', async () => {
    const early = await insertWholeOrder(client);
    const role = `writer_${randomUUIDv7().slice(-12)}`;
    await client.query('BEGIN');
    try {
      await client.query(`CREATE ROLE ${role}`);
      await client.query(`GRANT INSERT ON orders, order_items TO ${role}`);
      await client.query(`SET LOCAL ROLE ${role}`);
      await insertItemRow(client, await insertOrderRow(client));
      await client.query('SET CONSTRAINTS ALL IMMEDIATE');
      await expect(insertItemRow(client, early, { line_no: 2 })).rejects.toMatchObject({ code: CHECK_VIOLATION });
    } finally {
      await client.query('ROLLBACK');
    }
  });
});

describe('legal transactions of other writers', () => {
  it('may use savepoints and roll back to them', async () => {
    const before = await countRows(client);
    await inTransaction(client, async () => {
      await client.query('SAVEPOINT one');
      const kept = await insertOrderRow(client);
      await client.query('SAVEPOINT two');
      await insertItemRow(client, kept, { quantity: 7 });
      await insertOrderRow(client); // without items, and rolled back
      await client.query('ROLLBACK TO two');
      await insertItemRow(client, kept);
      await client.query('RELEASE one');
      await client.query('SAVEPOINT three');
      await insertItemRow(client, kept, { line_no: 2 });
    });
    expect(await countRows(client)).toEqual({ orders: before.orders + 1, items: before.items + 2 });
  });

  it('may insert many orders and items by one statement each, or all of it by one', async () => {
    const before = await countRows(client);
    const ids = [randomUUIDv7(), randomUUIDv7(), randomUUIDv7()];
    await inTransaction(client, async () => {
      await client.query(
        `INSERT INTO orders (order_id, user_id, total_cents) SELECT id, 'ada', 1 FROM unnest($1::uuid[]) AS id`,
        [ids],
      );
      await client.query(
        `INSERT INTO order_items (order_id, line_no, sku, quantity, unit_price_cents)
         SELECT id, line_no, 'tea', 1, 1 FROM unnest($1::uuid[]) AS id, generate_series(1, 2) AS line_no`,
        [ids],
      );
    });
    await client.query(
      `WITH placed AS (
         INSERT INTO orders (order_id, user_id, total_cents) VALUES (gen_random_uuid(), 'ada', 1) RETURNING order_id
       )
       INSERT INTO order_items (order_id, line_no, sku, quantity, unit_price_cents)
       SELECT order_id, 1, 'tea', 1, 1 FROM placed`,
    );
    expect(await countRows(client)).toEqual({ orders: before.orders + 4, items: before.items + 7 });
  });

  it('may COPY 50,000 orders with their items, in a session whose plans were made for tiny tables', async () => {
    const before = await countRows(client);
    // A plan that scans a table would need longer than this by orders of magnitude.
    await client.query(`SET statement_timeout = '60s'`);
    await client.query('ANALYZE orders, order_items');
    await insertWholeOrder(client);
    const ids = Array.from({ length: 50_000 }, () => randomUUIDv7());
    const lines = (id: string, index: number) => [1, 2, 3].map((line) => `${id}\t${line}\tsku-${index % 97}\t1\t100\n`);
    await inTransaction(client, async () => {
      const orders = ids.map((id, index) => `${id}\tcopied-${index % 10}\t300\n`);
      await copyRows('COPY orders (order_id, user_id, total_cents) FROM STDIN', orders);
      const items = ids.map((id, index) => lines(id, index).join(''));
      await copyRows('COPY order_items (order_id, line_no, sku, quantity, unit_price_cents) FROM STDIN', items);
    });
    await client.query('RESET statement_timeout');
    expect(await countRows(client)).toEqual({ orders: before.orders + 50_001, items: before.items + 150_001 });
  });

  it('lists a page of a user with many orders from one index, without sorting', async () => {
    await client.query('ANALYZE orders');
    const { rows } = await client.query(
      `EXPLAIN SELECT order_id FROM orders WHERE user_id = 'copied-1' AND (placed_at, order_id) < (
         SELECT placed_at, order_id FROM orders WHERE order_id = $1 AND user_id = 'copied-1'
       ) ORDER BY placed_at DESC, order_id DESC LIMIT 21`.replace('$1', `'${randomUUIDv7()}'`),
    );
    const plan = rows.map((row) => row['QUERY PLAN']).join('\n');
    expect(plan).toMatch(/using orders_by_user .*\n\s+Index Cond: .*user_id = .*ROW\(placed_at, order_id\) </);
    expect(plan).not.toContain('Sort');
  });
});

describe('what was inserted', () => {
  it('moves from placed to paid, and not back', async () => {
    const orderId = await insertWholeOrder(client);
    const setStatus = (status: string) =>
      client.query('UPDATE orders SET status = $2 WHERE order_id = $1', [orderId, status]);
    await setStatus('placed');
    await setStatus('paid');
    await setStatus('paid');
    await expectRefused(() => setStatus('placed'));
    await expectRefused(() => setStatus('sent'));
    const { rows } = await client.query('SELECT status FROM orders WHERE order_id = $1', [orderId]);
    expect(rows).toEqual([{ status: 'paid' }]);
  });

  it('does not change in any other column, one that is added later included', async () => {
    const orderId = await insertWholeOrder(client);
    const changes = {
      order_id: 'gen_random_uuid()',
      user_id: `'eve'`,
      source: `'direct'`,
      currency: `'EUR'`,
      total_cents: 'total_cents + 1',
      idempotency_key: `'new'`,
      placed_at: `placed_at + interval '1 microsecond'`,
      placed_xid: 'pg_current_xact_id()',
      traceparent: `'00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'`,
      note: `'{"a":2}'`,
    };
    const { rows } = await client.query<{ name: string }>(
      `SELECT column_name AS name FROM information_schema.columns WHERE table_name = 'orders' AND column_name <> 'status'`,
    );
    expect(Object.keys(changes).toSorted()).toEqual([...rows.map(({ name }) => name), 'note'].toSorted());
    for (const [column, value] of Object.entries(changes)) {
      await expectRefused(async () => {
        // json has no equality of its own.
        await client.query(`ALTER TABLE orders ADD COLUMN note json DEFAULT '{"a":1}'`);
        await client.query(`UPDATE orders SET status = 'paid', ${column} = ${value} WHERE order_id = $1`, [orderId]);
      });
    }
  });

  it('stays: it is neither updated, deleted nor truncated', async () => {
    const orderId = await insertWholeOrder(client);
    const statements = [
      `DELETE FROM orders WHERE order_id = '${orderId}'`,
      `DELETE FROM order_items WHERE order_id = '${orderId}'`,
      `UPDATE order_items SET quantity = 2 WHERE order_id = '${orderId}'`,
      `TRUNCATE orders CASCADE`,
      `TRUNCATE order_items`,
      `INSERT INTO orders (order_id, user_id, total_cents) VALUES ('${orderId}', 'ada', 1)
         ON CONFLICT (order_id) DO UPDATE SET total_cents = 7`,
      `MERGE INTO orders USING (SELECT '${orderId}'::uuid AS id) AS gone ON order_id = id WHEN MATCHED THEN DELETE`,
    ];
    for (const statement of statements) await expectRefused(() => client.query(statement));
  });

  it('is still immutable in the transaction that inserted it', async () => {
    await expectRefused(async () => {
      const orderId = await insertOrderRow(client);
      await insertItemRow(client, orderId);
      await client.query('DELETE FROM order_items WHERE order_id = $1', [orderId]);
    });
  });
});
