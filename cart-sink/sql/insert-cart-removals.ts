import { sql } from '@databases/pg';
import type { Removal } from '../reduce-cart.ts';

/** Records what each item of newly applied orders removed, as entry 0 of that item. */
export const insertCartRemovals = (rows: readonly Removal[]) => sql`
  INSERT INTO cart_removals (order_id, line_no, line_id, sku, ordered, removed, outcome)
  SELECT * FROM unnest(
    ${rows.map((row) => row.orderId)}::uuid[],
    ${rows.map((row) => row.lineNo)}::int[],
    ${rows.map((row) => row.lineId)}::uuid[],
    ${rows.map((row) => row.sku)}::text[],
    ${rows.map((row) => row.ordered)}::int[],
    ${rows.map((row) => row.removed)}::int[],
    ${rows.map((row) => row.outcome)}::text[]
  )
`;
