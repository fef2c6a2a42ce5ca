import { sql } from '@databases/pg';

/** Every applied order by id. */
export const openLedgerCursor = sql`
  DECLARE ledger NO SCROLL CURSOR FOR SELECT order_id, user_id, source, rule_version FROM applied_orders ORDER BY order_id
`;
