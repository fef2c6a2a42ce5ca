// The columns of `order_items`, as they are inserted with an order and read back with it. Both are fragments of the
// statements in orders.ts: an order and its items are never written or read apart.
import { type SQLQuery, sql } from '@databases/pg';
import type { OrderItem } from '../order.ts';

/** An entry of {@link selectItems}. */
export interface ItemRow {
  readonly lineNo: number;
  readonly sku: string;
  readonly quantity: number;
  readonly unitPriceCents: number;
  readonly cartLineId: string | null;
}

/** The items of the row of `public.orders`, by line number, as JSON: prices fit a JSON number. */
export const selectItems = sql`(
  SELECT json_agg(
    json_build_object(
      'lineNo', line_no, 'sku', sku, 'quantity', quantity, 'unitPriceCents', unit_price_cents,
      'cartLineId', cart_line_id
    ) ORDER BY line_no
  )
  FROM public.order_items
  WHERE order_items.order_id = orders.order_id
)`;

/** Inserts the items, numbered from 1, for the order of the CTE `placed`; none if that is empty. */
export function insertItems(items: readonly OrderItem[]): SQLQuery {
  return sql`
    INSERT INTO public.order_items (order_id, line_no, sku, quantity, unit_price_cents, cart_line_id)
    SELECT placed.order_id, item.line_no, item.sku, item.quantity, item.unit_price_cents, item.cart_line_id
    FROM placed, unnest(
      ${items.map((item) => item.sku)}::text[],
      ${items.map((item) => item.quantity)}::integer[],
      ${items.map((item) => item.unitPriceCents)}::bigint[],
      ${items.map((item) => item.cartLineId ?? null)}::uuid[]
    ) WITH ORDINALITY AS item (sku, quantity, unit_price_cents, cart_line_id, line_no)
    RETURNING order_id`;
}
