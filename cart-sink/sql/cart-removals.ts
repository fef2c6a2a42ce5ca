/**
 * Statements on `cart_removals`: what each item of each order took out of a cart, and what replays changed since.
 *
 * The sum of an item's entries is its effect. Rows are only inserted, never changed.
 */
import { sql } from '@databases/pg';
import type { RemovalEntry } from '../rule/cart-state.ts';

export type CartRemovalRow = Pick<
  RemovalEntry,
  'orderId' | 'lineNo' | 'entry' | 'lineId' | 'lineCreatedXid' | 'removed'
>;

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

/** All entries of these orders, the oldest entries of an item first. */
export const readCartRemovals = (orderIds: readonly string[]) => sql`
  SELECT order_id AS "orderId", line_no AS "lineNo", entry,
    line_id AS "lineId", line_created_xid AS "lineCreatedXid", removed
  FROM unnest((SELECT ${orderIds}::uuid[])) AS wanted (order_id)
  JOIN cart_removals USING (order_id)
  ORDER BY order_id, entry, line_no
`;
