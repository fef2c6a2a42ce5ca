import { sql } from '@databases/pg';

/** A user's live lines, oldest first: line ids made here are time-ordered. Rows as {@link CartLineView}. */
export const readCart = (userId: string) => sql`
  SELECT line_id, sku, quantity, created_at FROM cart_lines WHERE user_id = ${userId} ORDER BY line_id
`;
