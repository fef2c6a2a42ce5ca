import { type SQLQuery, sql } from '@databases/pg';

/** The contract's columns of the items of these orders, by order and line. */
export function readItemsOfOrders(orderIds: readonly string[]): SQLQuery {
  return sql`
    SELECT order_id, line_no, sku, quantity, unit_price_cents, cart_line_id
    FROM public.order_items
    WHERE order_id = ANY(${[...orderIds]}::uuid[])
    ORDER BY order_id, line_no
  `;
}
