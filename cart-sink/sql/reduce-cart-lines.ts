import { sql } from '@databases/pg';

/** Stores the quantities that are left. The lines must be locked. The sub-selects are explained in lock-cart-lines. */
export const reduceCartLines = (lines: readonly { readonly lineId: string; readonly quantity: number }[]) => sql`
  UPDATE cart_lines AS line
  SET quantity = reduced.quantity
  FROM unnest(
    (SELECT ${lines.map(({ lineId }) => lineId)}::uuid[]),
    (SELECT ${lines.map(({ quantity }) => quantity)}::int[])
  ) AS reduced (line_id, quantity)
  WHERE line.line_id = reduced.line_id
`;
