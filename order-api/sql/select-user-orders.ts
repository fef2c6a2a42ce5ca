// One page of a user's orders, bounded in orders and in bytes before any item is read: what does not fit is only counted.
// What a page means to a client is read-orders.ts's.
import { type SQLQuery, sql } from '@databases/pg';
import { orderColumns } from './order-columns.ts';

/** What an order and an item have as JSON at most, all ids and numbers at their longest. */
const ORDER_BYTES = 300;
const ITEM_BYTES = 200;

/**
 * A user's newest orders as OrderRows with `more`: whether others follow. `limit` at most, and no more than fit into
 * `mostBytes` as JSON, but at least one; with `before`, those that follow that order of theirs in the list (no rows when
 * there is no such order). Orders of one instant are listed by id, so pages neither skip nor repeat. What does not fit is
 * counted by an index, and not read.
 */
export function selectUserOrders(options: {
  readonly userId: string;
  readonly limit: number;
  readonly mostBytes: number;
  readonly before: string | undefined;
}): SQLQuery {
  const { userId, limit, mostBytes, before } = options;
  const page =
    before === undefined
      ? sql``
      : sql`AND (orders.placed_at, orders.order_id) < (
          SELECT cursor.placed_at, cursor.order_id FROM public.orders AS cursor
          WHERE cursor.order_id = ${before} AND cursor.user_id = ${userId}
        )`;
  return sql`
    WITH found AS (
      SELECT orders.*, (
        SELECT ${ORDER_BYTES} + ${ITEM_BYTES} * count(*) FROM public.order_items
        WHERE order_items.order_id = orders.order_id
      ) AS bytes
      FROM public.orders
      WHERE orders.user_id = ${userId} ${page}
      ORDER BY orders.placed_at DESC, orders.order_id DESC
      LIMIT ${limit + 1}
    ), counted AS (
      SELECT found.*, count(*) OVER () AS found_orders,
        row_number() OVER newest_first AS place, sum(found.bytes) OVER newest_first AS bytes_so_far
      FROM found WINDOW newest_first AS (ORDER BY found.placed_at DESC, found.order_id DESC)
    )
    SELECT ${orderColumns}, orders.found_orders > count(*) OVER () AS more
    FROM counted AS orders
    WHERE orders.place = 1 OR (orders.place <= ${limit} AND orders.bytes_so_far <= ${mostBytes})
    ORDER BY orders.placed_at DESC, orders.order_id DESC`;
}
