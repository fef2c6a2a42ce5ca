import type { Queryable } from '@databases/pg';
import type { Order } from './order.ts';
import { markOrderPaid, type OrderRow, parseOrderRow } from './sql/orders.ts';

/**
 * Marks an order as paid, in one statement; a repetition changes nothing. Returns the order as it is afterwards and
 * whether this call changed it, or undefined if there is no such order.
 */
export async function payOrder(
  database: Queryable,
  orderId: string,
): Promise<{ readonly order: Order; readonly changed: boolean } | undefined> {
  const [row] = (await database.query(markOrderPaid(orderId))) as (OrderRow & { changed: boolean })[];
  if (row === undefined) return undefined;
  // An order is placed or paid: whoever made the change, it is paid now.
  return { order: { ...parseOrderRow(row), status: 'paid' }, changed: row.changed };
}
