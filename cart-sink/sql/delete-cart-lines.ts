import { sql } from '@databases/pg';

/** Deletes the lines that have reached zero. They must be locked. The sub-select is explained in lock-cart-lines. */
export const deleteCartLines = (lineIds: readonly string[]) => sql`
  DELETE FROM cart_lines AS line
  USING unnest((SELECT ${lineIds}::uuid[])) AS emptied (line_id)
  WHERE line.line_id = emptied.line_id
`;
