// The one statement that places an order: order and items, or nothing, in a single round trip. Uniqueness of the
// idempotency key is the database's; what an empty answer means is place-order.ts's.
import { type SQLQuery, sql } from '@databases/pg';
import type { OrderItem } from '../order.ts';
import { placedAtText } from './order-columns.ts';

/**
 * Inserts an order with its items: one statement, so one transaction and one round trip. Returns one row
 * `{ placed_at }`, or none when the user has used the idempotency key already; a transaction that is just using it is
 * waited for. Fails with 22012 (division_by_zero), and nothing is inserted, where not every item was.
 */
export function insertOrder(order: {
  orderId: string;
  userId: string;
  source: string;
  currency: string;
  totalCents: bigint;
  idempotencyKey: string | null;
  items: readonly OrderItem[];
}): SQLQuery {
  const { items } = order;
  return sql`
    WITH placed AS (
      INSERT INTO public.orders (order_id, user_id, source, currency, total_cents, idempotency_key)
      VALUES (
        ${order.orderId}, ${order.userId}, ${order.source}, ${order.currency}, ${order.totalCents},
        ${order.idempotencyKey}
      )
      ON CONFLICT (user_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
      RETURNING order_id, placed_at
    ), items AS (
      INSERT INTO public.order_items (order_id, line_no, sku, quantity, unit_price_cents, cart_line_id)
      SELECT placed.order_id, item.line_no, item.sku, item.quantity, item.unit_price_cents, item.cart_line_id
      FROM placed, unnest(
        ${items.map((item) => item.sku)}::text[],
        ${items.map((item) => item.quantity)}::integer[],
        ${items.map((item) => item.unitPriceCents)}::bigint[],
        ${items.map((item) => item.cartLineId ?? null)}::uuid[]
      ) WITH ORDINALITY AS item (sku, quantity, unit_price_cents, cart_line_id, line_no)
      RETURNING order_id
    )
    SELECT ${placedAtText} AS placed_at FROM placed
    -- A trigger of somebody else's may keep items back. Dividing by zero then takes the whole order back.
    WHERE 1 / (
      CASE (SELECT count(*) FROM items WHERE items.order_id = placed.order_id) WHEN ${items.length} THEN 1 ELSE 0 END
    ) = 1`;
}
