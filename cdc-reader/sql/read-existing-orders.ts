import { type SQLQuery, sql } from '@databases/pg';

/** Those of the given order ids that are in `orders`. */
export function readExistingOrders(orderIds: readonly string[]): SQLQuery {
  return sql`SELECT order_id::text FROM public.orders WHERE order_id = ANY(${[...orderIds]}::uuid[])`;
}
