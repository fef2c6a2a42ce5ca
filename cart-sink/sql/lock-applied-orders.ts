import { sql } from '@databases/pg';

/**
 * Locks the ledger's rows of these orders by order id, as they are entered: whoever recomputes an order's effect does it
 * alone. Rows as {@link AppliedOrderRow}.
 */
export const lockAppliedOrders = (orderIds: readonly string[]) => sql`
  SELECT ledger.order_id, ledger.applied_snapshot
  FROM unnest((SELECT ${orderIds}::uuid[])) AS wanted (order_id)
  JOIN applied_orders AS ledger USING (order_id)
  ORDER BY ledger.order_id
  FOR UPDATE OF ledger
`;
