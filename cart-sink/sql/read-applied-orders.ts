import { sql } from '@databases/pg';

export interface AppliedOrderRow {
  readonly order_id: string;
  /** The text form of pg_snapshot. */
  readonly applied_snapshot: string;
}

/** Which of these orders the ledger has. */
export const readAppliedOrders = (orderIds: readonly string[]) => sql`
  SELECT order_id, applied_snapshot
  FROM unnest((SELECT ${orderIds}::uuid[])) AS wanted (order_id)
  JOIN applied_orders USING (order_id)
`;
