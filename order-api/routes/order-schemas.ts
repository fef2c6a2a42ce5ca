/**
 * The schemas of the order API's requests and responses, for validation and for /docs.
 *
 * Guarantees the limits of the contract, with messages for people; the database has the same limits for every writer.
 * Unknown fields are refused, so that no misspelt optional field is ignored.
 */
import { z } from 'zod';
import type { Order } from '../order.ts';

/** Part of the language since ES2026, and not yet of TypeScript's library. */
const { rawJSON } = JSON as typeof JSON & { rawJSON(text: string): unknown };

const identifier = (what: string) =>
  z
    .string()
    .regex(/^[A-Za-z0-9._:-]{1,64}$/, 'expected 1 to 64 characters of A-Z a-z 0-9 . _ : -')
    .meta({ description: what });

// Ids of any UUID version: other writers choose theirs. Lower case is how Postgres returns them.
const uuid = (what: string) => z.guid('expected a UUID').toLowerCase().meta({ description: what });

const wholeNumber = (min: number, max: number, what: string) =>
  z
    .int(`expected a whole number from ${min} to ${max}`)
    .min(min, `expected at least ${min}`)
    .max(max, `expected at most ${max}`)
    .meta({ description: what });

/** In a URL: decimal digits only. Number() would also take 0x10, 1e1, blanks and signs. */
const wholeNumberInDigits = (min: number, max: number, what: string) =>
  z
    .unknown()
    .refine(
      (value) => typeof value === 'string' && /^(0|[1-9]\d{0,14})$/.test(value) && +value >= min && +value <= max,
      `expected a whole number from ${min} to ${max}, in decimal digits`,
    )
    .transform(Number)
    .meta({ type: 'integer', minimum: min, maximum: max, description: what });

const userId = identifier('The user');
const orderId = uuid('The order');

export const newOrderSchema = z.strictObject({
  userId,
  source: z
    .enum(['cart', 'direct'], 'expected cart or direct')
    .default('cart')
    .meta({ description: 'cart: the goods leave the cart. direct (buy now): the cart stays as it is' }),
  currency: z
    .string()
    .regex(/^[A-Z]{3}$/, 'expected three capital letters')
    .default('USD')
    .meta({ description: 'ISO 4217 code' }),
  items: z
    .array(
      z.strictObject({
        sku: identifier('What is ordered'),
        quantity: wholeNumber(1, 1_000_000, 'How many'),
        unitPriceCents: wholeNumber(0, 10_000_000, 'Price of one, in cents'),
        cartLineId: uuid(
          'The cart line that the goods are in: then only that line is reduced. Without it, the line of this SKU is',
        ).optional(),
      }),
    )
    .min(1, 'expected at least 1 item')
    .max(500, 'expected at most 500 items')
    .meta({ description: 'The same SKU twice is two items' }),
});

export const idempotencyHeaders = z.looseObject({
  'idempotency-key': z
    .string()
    .regex(/^[\x21-\x7e]{1,255}$/, 'expected 1 to 255 visible ASCII characters')
    .optional()
    .meta({ description: 'Unique per user. The same key with the same order again gets the first response' }),
});

export const orderParameters = z.object({ orderId });
export const userParameters = z.object({ userId });
export const pageQuery = z.strictObject({
  limit: wholeNumberInDigits(1, 100, 'Orders a page at most. A page of large orders has fewer').default(20),
  before: uuid('The id of the last order of the previous page (its `next`)').optional(),
});

export const orderSchema = z
  .object({
    orderId: z.string().meta({ format: 'uuid' }),
    userId: z.string(),
    status: z.enum(['placed', 'paid']),
    source: z.enum(['cart', 'direct']),
    currency: z.string(),
    totalCents: z.unknown().meta({
      type: 'integer',
      format: 'int64',
      description:
        'The exact total. Below 2^53 for every order placed here; other writers may have stored up to 2^63 - 1, ' +
        'which JSON.parse of JavaScript rounds',
    }),
    placedAt: z.string().meta({ format: 'date-time', description: 'UTC, with microseconds' }),
    items: z.array(
      z.object({
        lineNo: z.int(),
        sku: z.string(),
        quantity: z.int(),
        unitPriceCents: z.int(),
        cartLineId: z.string().optional().meta({ format: 'uuid' }),
      }),
    ),
  })
  .meta({ id: 'Order', description: 'An order. Nothing but its status ever changes' });

export const orderPageSchema = z
  .object({
    orders: z.array(orderSchema).meta({ description: 'Newest first' }),
    next: z.string().optional().meta({ description: 'What to pass as `before` for the next page; absent on the last' }),
  })
  .meta({ id: 'OrderPage' });

/** The response for an order. The total keeps all its digits, which a JavaScript number would not. */
export function formatOrder(order: Order): z.input<typeof orderSchema> {
  return { ...order, items: [...order.items], totalCents: rawJSON(String(order.totalCents)) };
}
