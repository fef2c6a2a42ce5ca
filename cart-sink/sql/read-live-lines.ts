import { sql } from '@databases/pg';

/** The live lines of these users and SKUs, without locking them; rows as {@link CartLineRow}. See lock-cart-lines. */
export const readLiveLines = (wanted: readonly { readonly userId: string; readonly sku: string }[]) => sql`
  SELECT line.line_id, line.user_id, line.sku, line.quantity, line.created_xid
  FROM unnest(
    (SELECT ${wanted.map(({ userId }) => userId)}::text[]),
    (SELECT ${wanted.map(({ sku }) => sku)}::text[])
  ) AS wanted (user_id, sku)
  JOIN cart_lines AS line USING (user_id, sku)
`;
