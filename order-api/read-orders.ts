// Reads orders: one, or a user's newest first, in pages. A page continues after an order, not at an offset, so that
// orders placed meanwhile neither shift nor repeat anything.
import type { Queryable } from '@databases/pg';
import type { Order } from './order.ts';
import { type OrderRow, parseOrderRow, selectOrder, selectUserOrders } from './sql/orders.ts';

/** The order, or undefined when there is none with this id. */
export async function readOrder(database: Queryable, orderId: string): Promise<Order | undefined> {
  const [row] = (await database.query(selectOrder(orderId))) as OrderRow[];
  return row === undefined ? undefined : parseOrderRow(row);
}

export type UserOrders =
  /** `next` is what to pass as `before` for the following page; undefined on the last one. */
  | { readonly kind: 'page'; readonly orders: readonly Order[]; readonly next: string | undefined }
  /** `before` is no order of this user. */
  | { readonly kind: 'unknown-cursor' };

/** A user's orders, newest first, `limit` at most, those after the order `before` in that list. */
export async function readUserOrders(
  database: Queryable,
  options: { readonly userId: string; readonly limit: number; readonly before?: string | undefined },
): Promise<UserOrders> {
  const { userId, limit, before } = options;
  // One more than asked for tells whether there is a next page.
  const rows = (await database.query(selectUserOrders(userId, limit + 1, before))) as OrderRow[];
  if (rows.length === 0 && before !== undefined) {
    const cursor = await readOrder(database, before);
    if (cursor?.userId !== userId) return { kind: 'unknown-cursor' };
  }
  const orders = rows.slice(0, limit).map(parseOrderRow);
  return { kind: 'page', orders, next: rows.length > limit ? orders.at(-1)?.orderId : undefined };
}
