// What the carts database recorded for each order, for the audit: cursors over the ledger and the removal entries.
import { sql } from '@databases/pg';

/** Every applied order by id. */
export const openLedgerCursor = sql`
  DECLARE ledger NO SCROLL CURSOR FOR SELECT order_id, user_id, source, rule_version FROM applied_orders ORDER BY order_id
`;

/** Every removal entry by order, line and entry. */
export const openRemovalsCursor = sql`
  DECLARE removals NO SCROLL CURSOR FOR
    SELECT order_id, line_no, entry, sku, ordered, removed FROM cart_removals ORDER BY order_id, line_no, entry
`;
