/**
 * Placing an order: one statement, so one round trip and one database transaction; a second one only where the
 * idempotency key turns out to be used already.
 *
 * Guarantees that a user's key belongs to one order, however many requests bring it at once: the unique index decides,
 * and who loses reads the winner's order. When the connection breaks, the order may or may not have been placed; a
 * client that sent a key asks again with it. Validation is left to the routes and, for every writer, to the database.
 */
import { randomUUIDv7 } from 'node:crypto';
import type { Queryable, SQLQuery } from '@databases/pg';
import { isOrderOf, type NewOrder, type Order, sumCents } from './order.ts';
import { formatOrderRow } from './order-row.ts';
import { insertOrder } from './sql/insert-order.ts';
import type { OrderRow } from './sql/order-columns.ts';
import { selectOrderByKey } from './sql/select-order-by-key.ts';

export type Placing =
  | { readonly kind: 'placed'; readonly order: Order }
  /** The key and the same request came before: the order as that request was answered. */
  | { readonly kind: 'replayed'; readonly order: Order }
  /** The key came before with another request. */
  | { readonly kind: 'key-used' };

export async function placeOrder(
  database: Queryable,
  requested: NewOrder,
  idempotencyKey: string | undefined,
): Promise<Placing> {
  const orderId = randomUUIDv7();
  const totalCents = sumCents(requested.items);
  const [placed] = await insert(
    database,
    insertOrder({ ...requested, orderId, totalCents, idempotencyKey: idempotencyKey ?? null }),
  );
  if (placed !== undefined) {
    const items = requested.items.map((item, index) => ({ lineNo: index + 1, ...item }));
    const { userId, source, currency } = requested;
    const order = { orderId, userId, status: 'placed', source, currency, totalCents, items } as const;
    return { kind: 'placed', order: { ...order, placedAt: placed.placed_at } };
  }
  if (idempotencyKey === undefined) {
    throw new Error(
      'The orders table took no row: a trigger or rule of somebody else keeps it back. Nothing was placed.',
    );
  }
  return answerAgain(database, requested, idempotencyKey);
}

const DIVISION_BY_ZERO = '22012';

async function insert(database: Queryable, statement: SQLQuery): Promise<{ placed_at: string }[]> {
  try {
    return await database.query(statement);
  } catch (error) {
    if ((error as { code?: unknown }).code !== DIVISION_BY_ZERO) throw error;
    const message = 'order_items took not every item: a trigger of somebody else keeps some back. Nothing was placed.';
    throw new Error(message, { cause: error });
  }
}

async function answerAgain(database: Queryable, requested: NewOrder, idempotencyKey: string): Promise<Placing> {
  const [row] = (await database.query(selectOrderByKey(requested.userId, idempotencyKey))) as OrderRow[];
  // A statement of its own sees what the insert has waited for, and orders are never deleted.
  if (row === undefined) throw new Error('the order that holds the idempotency key is not there');
  const order = formatOrderRow(row);
  if (!isOrderOf(order, requested)) return { kind: 'key-used' };
  return { kind: 'replayed', order: { ...order, status: 'placed' } };
}
