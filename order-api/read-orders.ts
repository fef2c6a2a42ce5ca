// Reading orders back: one, or a user's newest first, page by page. A page continues behind an order, not at an offset,
// so that orders placed meanwhile neither shift nor repeat anything; and it is bounded in bytes as well as in orders, so
// that no number of readers can fill the memory.
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

/** Five of the largest orders, which have some 100 kB. */
const MOST_PAGE_BYTES = 512 * 1024;

/** A user's orders, newest first, `limit` at most (fewer where they are large, but one at least), those after the order `before` in that list. */
export async function readUserOrders(
  database: Queryable,
  options: { readonly userId: string; readonly limit: number; readonly before?: string | undefined },
): Promise<UserOrders> {
  const { userId, limit, before } = options;
  const rows = (await database.query(
    selectUserOrders({ userId, limit, before, mostBytes: MOST_PAGE_BYTES }),
  )) as (OrderRow & { more: boolean })[];
  if (rows.length === 0 && before !== undefined) {
    const cursor = await readOrder(database, before);
    if (cursor?.userId !== userId) return { kind: 'unknown-cursor' };
  }
  return { kind: 'page', orders: rows.map(parseOrderRow), next: rows[0]?.more ? rows.at(-1)?.order_id : undefined };
}
