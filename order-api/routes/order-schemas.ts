// What the order API's routes have beside an order: parameters, headers, pages. For validation and for /docs.
import { z } from 'zod';
import { identifier, orderSchema, uuid } from '../order.ts';

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

const orderId = uuid('The order');

export const idempotencyHeaders = z.looseObject({
  'idempotency-key': z
    .string()
    .regex(/^[\x21-\x7e]{1,255}$/, 'expected 1 to 255 visible ASCII characters')
    .optional()
    .meta({ description: 'Unique per user. The same key with the same order again gets the first response' }),
});

export const orderParameters = z.object({ orderId });
export const userParameters = z.object({ userId: identifier('The user') });
export const pageQuery = z.strictObject({
  limit: wholeNumberInDigits(1, 100, 'Orders a page at most. A page of large orders has fewer').default(20),
  before: uuid('The id of the last order of the previous page (its `next`)').optional(),
});

export const orderPageSchema = z
  .object({
    orders: z.array(orderSchema).meta({ description: 'Newest first' }),
    next: z.string().optional().meta({ description: 'What to pass as `before` for the next page; absent on the last' }),
  })
  .meta({ id: 'OrderPage' });
