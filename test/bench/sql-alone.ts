// What the sink's SQL costs by itself: the statements of a batch in a bare session, one after the other, on the tables of
// a migrated carts database, without Kafka, decoding and offsets to check. The floor that the sink is measured against:
// batches of 1,000 orders with three lines each, two of which are used up, taken from carts that hold the goods.

import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { serverOf } from '#service/postgres/database-server.ts';

const batchOrders = 1_000;
const itemsPerOrder = 3;
const cartQuantity = 2;

const statements = {
  offset: `UPDATE sql_alone_offset SET next_offset = $1 WHERE next_offset = $2 RETURNING 1`,
  ledger: `INSERT INTO applied_orders (order_id, user_id, source, timeline, commit_lsn, ordinal, rule_version)
    SELECT a, b, c, d, e, f, 1 FROM unnest($1::uuid[], $2::text[], $3::text[], $4::int[], $5::pg_lsn[], $6::int[]) AS t(a, b, c, d, e, f)
    ORDER BY a ON CONFLICT (order_id) DO NOTHING RETURNING order_id`,
  lock: `SELECT line.line_id, line.user_id, line.sku, line.quantity, line.created_xid
    FROM unnest((SELECT $1::text[]), (SELECT $2::text[])) AS wanted(user_id, sku) JOIN cart_lines line USING (user_id, sku)
    ORDER BY line.line_id FOR UPDATE OF line`,
  reduce: `UPDATE cart_lines line SET quantity = less.quantity
    FROM unnest((SELECT $1::uuid[]), (SELECT $2::int[])) AS less(line_id, quantity) WHERE line.line_id = less.line_id`,
  remove: `DELETE FROM cart_lines line USING unnest((SELECT $1::uuid[])) AS used(line_id) WHERE line.line_id = used.line_id`,
  removals: `INSERT INTO cart_removals (order_id, line_no, entry, line_id, line_created_xid, sku, ordered, removed, outcome)
    SELECT * FROM unnest($1::uuid[], $2::int[], $3::smallint[], $4::uuid[], $5::xid8[], $6::text[], $7::int[], $8::int[], $9::text[])`,
};

interface Order {
  readonly id: string;
  readonly user: string;
  readonly skus: readonly string[];
}

interface Line {
  readonly line_id: string;
  readonly user_id: string;
  readonly sku: string;
  readonly quantity: number;
  readonly created_xid: string;
}

/** @param cartsUrl a migrated carts database that nothing else uses. @returns orders a second. */
export async function measureSqlAlone(cartsUrl: string, orders: number): Promise<number> {
  const client = new pg.Client(serverOf(cartsUrl));
  await client.connect();
  try {
    const all = Array.from({ length: orders }, (_, number): Order => {
      const skus = Array.from(
        { length: itemsPerOrder },
        (_, item) => `sku-${(number * 7 + item * 13) % 5_000}-${item}`,
      );
      return { id: randomUUID(), user: `user-${number}`, skus };
    });
    await client.query('CREATE TABLE sql_alone_offset AS SELECT 0::bigint AS next_offset');
    for (let at = 0; at < orders; at += 5 * batchOrders) await fill(client, all.slice(at, at + 5 * batchOrders));
    for (const text of ['VACUUM ANALYZE', 'CHECKPOINT']) await client.query(text);
    const startMs = performance.now();
    for (let at = 0; at < orders; at += batchOrders) await apply(client, at, all.slice(at, at + batchOrders));
    return orders / ((performance.now() - startMs) / 1_000);
  } finally {
    await client.end();
  }
}

async function fill(client: pg.Client, orders: readonly Order[]): Promise<void> {
  const users = orders.flatMap(({ user, skus }) => skus.map(() => user));
  const skus = orders.flatMap((order) => order.skus);
  await client.query(
    `INSERT INTO cart_lines (line_id, user_id, sku, quantity)
     SELECT gen_random_uuid(), user_id, sku, ${cartQuantity} FROM unnest($1::text[], $2::text[]) AS t(user_id, sku)`,
    [users, skus],
  );
}

async function apply(client: pg.Client, offset: number, orders: readonly Order[]): Promise<void> {
  const run = async (name: keyof typeof statements, values: readonly unknown[]): Promise<Line[]> =>
    (await client.query<Line>({ name, text: statements[name], values: [...values] })).rows;
  await client.query('BEGIN');
  const moved = await run('offset', [offset + orders.length, offset]);
  const added = await run('ledger', [
    orders.map(({ id }) => id),
    orders.map(({ user }) => user),
    orders.map(() => 'cart'),
    orders.map(() => 1),
    orders.map((_, index) => `0/${(offset + index + 4096).toString(16)}`),
    orders.map(() => 0),
  ]);
  if (moved.length !== 1 || added.length !== orders.length) throw new Error('The batch was applied before.');
  const wanted = orders.flatMap(({ user, skus }) => skus.map((sku) => [user, sku] as const));
  const lines = await run('lock', [wanted.map(([user]) => user), wanted.map(([, sku]) => sku)]);
  const byPlace = new Map(lines.map((line) => [`${line.user_id} ${line.sku}`, line]));
  const changes = orders.flatMap(({ id, user, skus }) =>
    skus.map((sku, index) => ({
      id,
      lineNo: index + 1,
      taken: index === 0 ? 1 : cartQuantity,
      line: byPlace.get(`${user} ${sku}`)!,
    })),
  );
  const reduced = changes.filter(({ line, taken }) => taken < line.quantity);
  const removed = changes.filter(({ line, taken }) => taken === line.quantity);
  await run('reduce', [
    reduced.map(({ line }) => line.line_id),
    reduced.map(({ line, taken }) => line.quantity - taken),
  ]);
  await run('remove', [removed.map(({ line }) => line.line_id)]);
  await run('removals', [
    changes.map(({ id }) => id),
    changes.map(({ lineNo }) => lineNo),
    changes.map(() => 0),
    changes.map(({ line }) => line.line_id),
    changes.map(({ line }) => line.created_xid),
    changes.map(({ line }) => line.sku),
    changes.map(({ taken }) => taken),
    changes.map(({ taken }) => taken),
    changes.map(() => 'removed'),
  ]);
  await client.query('COMMIT');
}
