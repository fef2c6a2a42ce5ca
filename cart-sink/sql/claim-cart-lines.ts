import { sql } from '@databases/pg';

/**
 * Brings lines back, as old as they were: with their ids and creating transactions. Where the user has a live line of
 * that SKU meanwhile, that one is locked and returned instead, unchanged. Rows as {@link CartLineRow}, one a line.
 */
export const claimCartLines = (
  lines: readonly {
    readonly lineId: string;
    readonly userId: string;
    readonly sku: string;
    readonly quantity: number;
    readonly createdXid: string;
  }[],
) => sql`
  INSERT INTO cart_lines AS live (line_id, created_xid, quantity, user_id, sku)
  SELECT line_id, created_xid, quantity, user_id, sku FROM unnest(
    ${lines.map(({ lineId }) => lineId)}::uuid[],
    ${lines.map(({ createdXid }) => createdXid)}::xid8[],
    ${lines.map(({ quantity }) => quantity)}::int[],
    ${lines.map(({ userId }) => userId)}::text[],
    ${lines.map(({ sku }) => sku)}::text[]
  ) AS back (line_id, created_xid, quantity, user_id, sku)
  ORDER BY user_id, sku
  ON CONFLICT (user_id, sku) DO UPDATE SET quantity = live.quantity
  RETURNING line_id, user_id, sku, quantity, created_xid
`;
