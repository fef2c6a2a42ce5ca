/**
 * Places an order with one statement, so one round trip and one transaction; a second statement only if the idempotency
 * key has been used before.
 *
 * Guarantees that a user's key belongs to one order, however many requests use it at once: the unique index decides, and
 * every other request reads the winner's order. When the connection breaks, the order may or may not have been placed; a
 * client that sent a key repeats the request. Leaves validation to the routes and, for every writer, to the database.
 */
import { randomUUIDv7 } from 'node:crypto';
import type { Queryable, SQLQuery } from '@databases/pg';
import type { Database } from '#service/database.ts';
import { isOrderOf, type NewOrder, type Order, sumCents } from './order.ts';
import { insertOrder, type OrderRow, parseOrderRow, selectOrderByKey } from './sql/orders.ts';

export type Placing =
  | { readonly kind: 'placed'; readonly order: Order }
  /** The key was used before, for the same order: that order as it was placed. */
  | { readonly kind: 'replayed'; readonly order: Order }
  /** The key was used before, for another order. */
  | { readonly kind: 'key-used' };

export async function placeOrder(
  database: Pick<Database, 'pool' | 'prepared'>,
  requested: NewOrder,
  {
    idempotencyKey,
    traceparent,
  }: { readonly idempotencyKey?: string | undefined; readonly traceparent?: string | undefined },
): Promise<Placing> {
  const orderId = randomUUIDv7();
  const totalCents = sumCents(requested.items);
  const [placed] = await insert(
    database,
    insertOrder({
      ...requested,
      orderId,
      totalCents,
      idempotencyKey: idempotencyKey ?? null,
      traceparent: traceparent ?? null,
    }),
  );
  if (placed !== undefined) {
    const items = requested.items.map((item, index) => ({ lineNo: index + 1, ...item }));
    const { placed_at: placedAt } = placed;
    return { kind: 'placed', order: { ...requested, orderId, status: 'placed', totalCents, placedAt, items } };
  }
  if (idempotencyKey === undefined) {
    throw new Error(
      'The insert into orders stored no row: a foreign trigger or rule on the table suppresses it. Nothing was placed.',
    );
  }
  return readPlaced(database.pool, requested, idempotencyKey);
}

const DIVISION_BY_ZERO = '22012';

async function insert(database: Pick<Database, 'prepared'>, statement: SQLQuery): Promise<{ placed_at: string }[]> {
  try {
    return (await database.prepared(statement)) as { placed_at: string }[];
  } catch (error) {
    if ((error as { code?: unknown }).code !== DIVISION_BY_ZERO) throw error;
    const message =
      'The insert into order_items stored fewer rows than the order has items: a foreign trigger on the table ' +
      'suppresses some. Nothing was placed.';
    throw new Error(message, { cause: error });
  }
}

async function readPlaced(database: Queryable, requested: NewOrder, idempotencyKey: string): Promise<Placing> {
  const [row] = (await database.query(selectOrderByKey(requested.userId, idempotencyKey))) as OrderRow[];
  // A new statement sees the row that the insert has waited for, and orders are never deleted.
  if (row === undefined) throw new Error('The order that holds the idempotency key does not exist. This is a bug.');
  const order = parseOrderRow(row);
  if (!isOrderOf(order, requested)) return { kind: 'key-used' };
  return { kind: 'replayed', order: { ...order, status: 'placed' } };
}
