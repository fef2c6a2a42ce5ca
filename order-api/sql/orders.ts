// The statements on `orders`, and the row that every read returns. Totals are bigint and times text with microseconds, so
// that no digit is lost. Placing an order is one statement, so one round trip and one transaction; what its results mean
// is left to place-order.ts.
import { type SQLQuery, sql } from '@databases/pg';
import type { NewOrder, Order } from '../order.ts';
import { type ItemRow, insertItems, selectItems } from './order-items.ts';

export interface OrderRow {
  readonly order_id: string;
  readonly user_id: string;
  readonly status: 'placed' | 'paid';
  readonly source: 'cart' | 'direct';
  readonly currency: string;
  readonly total_cents: bigint;
  readonly placed_at: string;
  readonly items: readonly ItemRow[];
}

export function parseOrderRow(row: OrderRow): Order {
  return {
    orderId: row.order_id,
    userId: row.user_id,
    status: row.status,
    source: row.source,
    currency: row.currency,
    totalCents: row.total_cents,
    placedAt: row.placed_at,
    items: row.items.map(({ cartLineId, ...item }) => (cartLineId === null ? item : { ...item, cartLineId })),
  };
}

/** RFC 3339 with all digits that Postgres keeps: a Date would cut them to milliseconds. */
const placedAtText = sql`to_char(placed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`;

/** The columns of an {@link OrderRow}. */
const orderColumns = sql`
  orders.order_id, orders.user_id, orders.status, orders.source, orders.currency, orders.total_cents,
  ${placedAtText} AS placed_at, ${selectItems} AS items`;

/** Fails unless both tables can be read, and have the column that came last. */
export const checkTables = sql`SELECT orders.traceparent FROM public.orders, public.order_items LIMIT 0`;

/** An OrderRow, or no row. */
export function selectOrder(orderId: string): SQLQuery {
  return sql`SELECT ${orderColumns} FROM public.orders WHERE orders.order_id = ${orderId}`;
}

/** The order that a user placed with an idempotency key, as an OrderRow, or no row. */
export function selectOrderByKey(userId: string, idempotencyKey: string): SQLQuery {
  return sql`
    SELECT ${orderColumns} FROM public.orders
    WHERE orders.user_id = ${userId} AND orders.idempotency_key = ${idempotencyKey}`;
}

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

/** What of a new order the service decides and not the client. */
export interface PlacedBy {
  readonly orderId: string;
  readonly totalCents: bigint;
  readonly idempotencyKey: string | null;
  /** W3C trace context of the request; null: none. */
  readonly traceparent: string | null;
}

/**
 * Inserts an order with its items. Returns one row `{ placed_at }`, or none if the user has used the idempotency key
 * before; it waits for a transaction that is using the key. Fails with 22012 (division_by_zero), and inserts nothing,
 * unless the order was inserted under its id and user, with every item.
 */
export function insertOrder(order: NewOrder & PlacedBy): SQLQuery {
  return sql`
    WITH placed AS (
      INSERT INTO public.orders (order_id, user_id, source, currency, total_cents, idempotency_key, traceparent)
      VALUES (
        ${order.orderId}, ${order.userId}, ${order.source}, ${order.currency}, ${order.totalCents},
        ${order.idempotencyKey}, ${order.traceparent}
      )
      ON CONFLICT (user_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
      RETURNING order_id, user_id, placed_at
    ), items AS (${insertItems(order.items)}
    )
    SELECT ${placedAtText} AS placed_at FROM placed
    -- A foreign trigger may suppress items, or give the order another id or user than the answer has. The division by zero
    -- then rolls back the whole order.
    WHERE 1 / (
      CASE
        WHEN placed.order_id = ${order.orderId} AND placed.user_id = ${order.userId}
          AND (SELECT count(*) FROM items WHERE items.order_id = placed.order_id) = ${order.items.length}
        THEN 1 ELSE 0
      END
    ) = 1`;
}

/**
 * Marks an order as paid unless it is, and returns it as an OrderRow with `changed`, or no row. The row has the status
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
