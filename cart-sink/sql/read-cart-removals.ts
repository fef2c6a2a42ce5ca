import { sql } from '@databases/pg';

export interface CartRemovalRow {
  readonly order_id: string;
  readonly line_no: number;
  readonly entry: number;
  readonly line_id: string | null;
  readonly line_created_xid: string | null;
  readonly removed: number;
}

/** Everything that these orders removed and gave back, the oldest entries of an item first. */
export const readCartRemovals = (orderIds: readonly string[]) => sql`
  SELECT order_id, line_no, entry, line_id, line_created_xid, removed
  FROM unnest((SELECT ${orderIds}::uuid[])) AS wanted (order_id)
  JOIN cart_removals USING (order_id)
  ORDER BY order_id, entry, line_no
`;
