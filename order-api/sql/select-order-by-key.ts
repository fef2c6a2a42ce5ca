import { type SQLQuery, sql } from '@databases/pg';
import { orderColumns } from './order-columns.ts';

/** The order that a user placed with an idempotency key, as an OrderRow, or no row. */
export function selectOrderByKey(userId: string, idempotencyKey: string): SQLQuery {
  return sql`
    SELECT ${orderColumns} FROM public.orders
    WHERE orders.user_id = ${userId} AND orders.idempotency_key = ${idempotencyKey}`;
}
