import { sql } from '@databases/pg';

/** Every removal entry by order, line and entry. */
export const openRemovalsCursor = sql`
  DECLARE removals NO SCROLL CURSOR FOR
    SELECT order_id, line_no, entry, sku, ordered, removed FROM cart_removals ORDER BY order_id, line_no, entry
`;
