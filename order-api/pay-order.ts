import type { Queryable } from '@databases/pg';
import type { Order } from './order.ts';
import { formatOrderRow } from './order-row.ts';
import { markOrderPaid } from './sql/mark-order-paid.ts';
import type { OrderRow } from './sql/order-columns.ts';

/**
 * Marks an order as paid, in one statement; paying again changes nothing. Returns the order as it is afterwards and
 * whether this call changed it, or undefined when there is no such order.
 */
export async function payOrder(
  database: Queryable,
  orderId: string,
): Promise<{ readonly order: Order; readonly changed: boolean } | undefined> {
  const [row] = (await database.query(markOrderPaid(orderId))) as (OrderRow & { changed: boolean })[];
  if (row === undefined) return undefined;
  // An order is placed or paid, so whoever made the change, it is paid now.
  return { order: { ...formatOrderRow(row), status: 'paid' }, changed: row.changed };
}
