import { sql } from '@databases/pg';

/** Every order of the snapshot by id. */
export const openOrdersCursor = sql`
  DECLARE orders NO SCROLL CURSOR FOR SELECT order_id, user_id, source FROM public.orders ORDER BY order_id
`;
