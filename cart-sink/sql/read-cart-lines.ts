import { sql } from '@databases/pg';

/** Reads lines by id, whoever they belong to, without locking them; rows as {@link CartLineRow}. */
export const readCartLines = (lineIds: readonly string[]) => sql`
  SELECT line_id, user_id, sku, quantity, created_xid
  FROM unnest((SELECT ${lineIds}::uuid[])) AS named (line_id)
  JOIN cart_lines USING (line_id)
`;
