import { sql } from '@databases/pg';
import type { Removal } from '../rule/reduce-cart.ts';

export interface RemovalEntry extends Removal {
  /** 0 when the order is applied; then one more each time that a replay changes what the item removed. */
  readonly entry: number;
  /** Null with `lineId`. */
  readonly lineCreatedXid: string | null;
}

/** Records what items of orders removed, or (negative) gave back. */
export const insertCartRemovals = (rows: readonly RemovalEntry[]) => sql`
  INSERT INTO cart_removals
    (order_id, line_no, entry, line_id, line_created_xid, sku, ordered, removed, outcome)
  SELECT * FROM unnest(
    ${rows.map((row) => row.orderId)}::uuid[],
    ${rows.map((row) => row.lineNo)}::int[],
    ${rows.map((row) => row.entry)}::smallint[],
    ${rows.map((row) => row.lineId)}::uuid[],
    ${rows.map((row) => row.lineCreatedXid)}::xid8[],
    ${rows.map((row) => row.sku)}::text[],
    ${rows.map((row) => row.ordered)}::int[],
    ${rows.map((row) => row.removed)}::int[],
    ${rows.map((row) => row.outcome)}::text[]
  )
`;
