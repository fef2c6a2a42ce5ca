import { sql } from '@databases/pg';

/** Deletes a user's line and returns its id; no row when the user has no such line. */
export const removeCartLine = (userId: string, lineId: string) => sql`
  DELETE FROM cart_lines WHERE line_id = ${lineId} AND user_id = ${userId} RETURNING line_id
`;
