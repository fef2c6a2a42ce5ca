import { type SQLQuery, sql } from '@databases/pg';
import { orderColumns } from './order-columns.ts';

/**
 * Marks an order as paid if it isn't, and returns it as an OrderRow with `changed`, or no row. The row shows the status
 * from before: a statement does not see its own update.
 */
export function markOrderPaid(orderId: string): SQLQuery {
  return sql`
    WITH paid AS (
      UPDATE public.orders SET status = 'paid' WHERE order_id = ${orderId} AND status = 'placed' RETURNING 1
    )
    SELECT ${orderColumns}, EXISTS (SELECT FROM paid) AS changed
    FROM public.orders WHERE orders.order_id = ${orderId}`;
}
