import { sql } from '@databases/pg';

export interface CartLineView {
  readonly line_id: string;
  readonly sku: string;
  readonly quantity: number;
  readonly created_at: Date;
}

/**
 * Adds goods: to the user's live line of that SKU, or as a new line `lineId`. No row, and nothing stored, when the sum
 * would pass `most`. If the sink is just deleting the line, this waits for it and then makes a new one: goods added are
 * never lost with the line that they would have joined.
 */
export const addCartLine = (line: {
  readonly lineId: string;
  readonly userId: string;
  readonly sku: string;
  readonly quantity: number;
  readonly most: number;
}) => sql`
  INSERT INTO cart_lines AS live (line_id, user_id, sku, quantity)
  VALUES (${line.lineId}, ${line.userId}, ${line.sku}, ${line.quantity})
  ON CONFLICT (user_id, sku) DO UPDATE SET quantity = live.quantity + excluded.quantity
    WHERE live.quantity + excluded.quantity <= ${line.most}
  RETURNING line_id, sku, quantity, created_at
`;
