/**
 * The schemas of the cart API: its requests and responses, for validation and for /docs.
 *
 * Guarantees the limits of the contract, with readable messages; the database enforces the same limits for every
 * writer. Unknown fields are refused, so a misspelt field is never ignored silently.
 */
import { z } from 'zod';
import { MOST_OF_A_LINE } from '../rule/reduce-cart.ts';
import type { CartLineView } from '../sql/cart-lines.ts';

const identifier = (what: string) =>
  z
    .string()
    .regex(/^[A-Za-z0-9._:-]{1,64}$/, 'expected 1 to 64 characters of A-Z a-z 0-9 . _ : -')
    .meta({ description: what });

const wholeNumber = `expected a whole number from 1 to ${MOST_OF_A_LINE}`;
const quantity = z.int(wholeNumber).min(1, wholeNumber).max(MOST_OF_A_LINE, wholeNumber);

const userId = identifier('The user');
// Ids of any UUID version, in lower case as Postgres returns them.
const lineId = z.guid('expected a UUID').toLowerCase().meta({ description: 'The line' });

export const cartParameters = z.object({ userId });
export const lineParameters = z.object({ userId, lineId });

export const newLineSchema = z.strictObject({
  sku: identifier('What is added'),
  quantity: quantity.meta({ description: 'How many are added' }),
});

export const keyHeaders = z.looseObject({
  'idempotency-key': z
    .string()
    .regex(/^[\x21-\x7e]{1,255}$/, 'expected 1 to 255 visible ASCII characters')
    .optional()
    .meta({ description: 'Unique per user, kept for 24 hours. The same key with the same body again adds nothing' }),
});

export const lineChangeSchema = z.strictObject({
  quantity: quantity.meta({ description: 'How many there are from now on; to have none, delete the line' }),
});

export const lineSchema = z
  .object({
    lineId: z.string().meta({ format: 'uuid', description: 'Kept until the line is gone' }),
    sku: z.string(),
    quantity: z.int(),
    createdAt: z.string().meta({ format: 'date-time' }),
  })
  .meta({ id: 'CartLine', description: 'Goods in a cart: one line for each SKU' });

export const cartSchema = z
  .object({ userId: z.string(), lines: z.array(lineSchema).meta({ description: 'Oldest first' }) })
  .meta({ id: 'Cart' });

export function formatLine(line: CartLineView): z.input<typeof lineSchema> {
  return { ...line, createdAt: line.createdAt.toISOString() };
}
