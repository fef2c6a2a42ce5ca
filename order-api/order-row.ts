import type { Order } from './order.ts';
import type { OrderRow } from './sql/order-columns.ts';

/** An order as the API speaks of it, from its row. */
export function formatOrderRow(row: OrderRow): Order {
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
