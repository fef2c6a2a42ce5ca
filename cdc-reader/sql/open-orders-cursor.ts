import { sql } from '@databases/pg';

/** The contract's columns of all orders that the transaction sees, oldest first; the server sorts, and spills if it must. */
export const openOrdersCursor = sql`
  DECLARE snapshot_orders NO SCROLL CURSOR FOR
    SELECT order_id, user_id, source, currency, total_cents, placed_at
    FROM public.orders
    ORDER BY placed_at, order_id
`;
