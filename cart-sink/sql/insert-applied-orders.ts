import { sql } from '@databases/pg';
import { formatLsn } from '#schemas/lsn.ts';
import type { Position } from '#schemas/position.ts';

export interface LedgerRow extends Position {
  readonly orderId: string;
  readonly userId: string;
  readonly source: string;
}

/**
 * Enters orders into the ledger and returns the ids that were new to it (I3). Waits for another transaction that is
 * entering one of them; every writer goes by order id, so that none waits for each other in a circle. Ids must be
 * distinct. Runs before the cart lines are read, so the snapshot kept here never sees more than the order could.
 */
export const insertAppliedOrders = (ruleVersion: number, rows: readonly LedgerRow[]) => sql`
  INSERT INTO applied_orders (order_id, user_id, source, timeline, commit_lsn, ordinal, rule_version)
  SELECT order_id, user_id, source, timeline, commit_lsn, ordinal, ${ruleVersion}
  FROM unnest(
    ${rows.map((row) => row.orderId)}::uuid[],
    ${rows.map((row) => row.userId)}::text[],
    ${rows.map((row) => row.source)}::text[],
    ${rows.map((row) => row.timeline)}::int[],
    ${rows.map((row) => formatLsn(row.commitLsn))}::pg_lsn[],
    ${rows.map((row) => row.ordinal)}::int[]
  ) AS placed (order_id, user_id, source, timeline, commit_lsn, ordinal)
  ORDER BY order_id
  ON CONFLICT (order_id) DO NOTHING
  RETURNING order_id
`;
