import { sql } from '@databases/pg';

/** Sets the quantity of a user's line; no row when the user has no such line. Rows as {@link CartLineView}. */
export const changeCartLine = (userId: string, lineId: string, quantity: number) => sql`
  UPDATE cart_lines SET quantity = ${quantity}
  WHERE line_id = ${lineId} AND user_id = ${userId}
  RETURNING line_id, sku, quantity, created_at
`;
