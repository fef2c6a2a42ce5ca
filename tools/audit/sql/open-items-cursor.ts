import { sql } from '@databases/pg';

/** Every order item of the snapshot by order and line. */
export const openItemsCursor = sql`
  DECLARE items NO SCROLL CURSOR FOR
    SELECT order_id, line_no, sku, quantity FROM public.order_items ORDER BY order_id, line_no
`;
