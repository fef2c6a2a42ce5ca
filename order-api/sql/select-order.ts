import { type SQLQuery, sql } from '@databases/pg';
import { orderColumns } from './order-columns.ts';

/** The order as an OrderRow, or no row. */
export function selectOrder(orderId: string): SQLQuery {
  return sql`SELECT ${orderColumns} FROM public.orders WHERE orders.order_id = ${orderId}`;
}
