/**
 * Statements on `cart_removals`: what each item of each order took out of a cart, and what replays changed since.
 *
 * The sum of an item's entries is its effect. Rows are only inserted, never changed.
 */
import { sql } from '@databases/pg';
import { plainArray, textArray } from '#service/postgres/array-literals.ts';
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
    ${plainArray(rows.map((row) => row.orderId))}::uuid[],
    ${plainArray(rows.map((row) => row.lineNo))}::int[],
    ${plainArray(rows.map((row) => row.entry))}::smallint[],
    ${plainArray(rows.map((row) => row.lineId))}::uuid[],
    ${plainArray(rows.map((row) => row.lineCreatedXid))}::xid8[],
    ${textArray(rows.map((row) => row.sku))}::text[],
    ${plainArray(rows.map((row) => row.ordered))}::int[],
    ${plainArray(rows.map((row) => row.removed))}::int[],
    ${plainArray(rows.map((row) => row.outcome))}::text[]
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

/** What an operator is shown of an entry. */
export type RemovalFactsRow = Pick<
  RemovalEntry,
  'lineNo' | 'entry' | 'sku' | 'ordered' | 'removed' | 'outcome' | 'lineId'
>;

/** {@link RemovalFactsRow}s of one order by line, the oldest entries of an item first. */
export const readRemovalFacts = (orderId: string) => sql`
  SELECT line_no AS "lineNo", entry, sku, ordered, removed, outcome, line_id AS "lineId"
  FROM cart_removals WHERE order_id = ${orderId} ORDER BY line_no, entry
`;
