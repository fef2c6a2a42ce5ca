import { type SQLQuery, sql } from '@databases/pg';
import { orderColumns } from './order-columns.ts';

/**
 * A user's newest orders as OrderRows, `limit` at most; with `before`, those that follow that order of theirs in the
 * list (no rows when there is no such order). Orders of one instant are listed by id, so pages neither skip nor repeat.
 */
export function selectUserOrders(userId: string, limit: number, before: string | undefined): SQLQuery {
  const page =
    before === undefined
      ? sql``
      : sql`AND (orders.placed_at, orders.order_id) < (
          SELECT cursor.placed_at, cursor.order_id FROM public.orders AS cursor
          WHERE cursor.order_id = ${before} AND cursor.user_id = ${userId}
        )`;
  return sql`
    SELECT ${orderColumns} FROM public.orders
    WHERE orders.user_id = ${userId} ${page}
    ORDER BY orders.placed_at DESC, orders.order_id DESC
    LIMIT ${limit}`;
}
