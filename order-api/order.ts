/**
 * An order as this service knows it: what a request may be, what a response is, and the decisions that need no database. A new
 * field of the event has its place here (docs/changing-the-event.md).
 *
 * Guarantees the limits of the contract, with messages for people; the database has the same limits for every writer. Unknown
 * fields are refused, so that no misspelt optional field is ignored. Totals are bigint cents: the largest order that the API
 * accepts comes to 5·10^15, and other writers' totals may use all 63 bits.
 */
import { z } from 'zod';

/** Part of the language since ES2026, and not yet of TypeScript's library. */
const { rawJSON } = JSON as typeof JSON & { rawJSON(text: string): unknown };

export const identifier = (what: string) =>
  z
    .string()
    .regex(/^[A-Za-z0-9._:-]{1,64}$/, 'expected 1 to 64 characters of A-Z a-z 0-9 . _ : -')
    .meta({ description: what });

// Ids of any UUID version: other writers choose theirs. Lower case is how Postgres returns them.
export const uuid = (what: string) => z.guid('expected a UUID').toLowerCase().meta({ description: what });

const wholeNumber = (min: number, max: number, what: string) =>
  z
    .int(`expected a whole number from ${min} to ${max}`)
    .min(min, `expected at least ${min}`)
    .max(max, `expected at most ${max}`)
    .meta({ description: what });

const orderItemSchema = z.strictObject({
  sku: identifier('What is ordered'),
  quantity: wholeNumber(1, 1_000_000, 'How many'),
  unitPriceCents: wholeNumber(0, 10_000_000, 'Price of one, in cents'),
  cartLineId: uuid(
    'The cart line that the goods are in: then only that line is reduced. Without it, the line of this SKU is',
  ).optional(),
});

export const newOrderSchema = z.strictObject({
  userId: identifier('The user'),
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
    .array(orderItemSchema)
    .min(1, 'expected at least 1 item')
    .max(500, 'expected at most 500 items')
    .meta({ description: 'The same SKU twice is two items' }),
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

export type OrderItem = Readonly<z.output<typeof orderItemSchema>>;

export type NewOrder = Readonly<Omit<z.output<typeof newOrderSchema>, 'items'>> & {
  readonly items: readonly OrderItem[];
};

export interface Order extends NewOrder {
  readonly orderId: string;
  readonly status: 'placed' | 'paid';
  readonly totalCents: bigint;
  /** RFC 3339 in UTC, with microseconds. */
  readonly placedAt: string;
  /** By line number; other writers may leave gaps between the numbers. */
  readonly items: readonly (OrderItem & { readonly lineNo: number })[];
}

export function sumCents(items: readonly OrderItem[]): bigint {
  return items.reduce((total, item) => total + BigInt(item.quantity) * BigInt(item.unitPriceCents), 0n);
}

const { items: _, ...orderFields } = newOrderSchema.shape;

/**
 * Whether `stored` is what placing `requested` would have stored. Every field of a request is stored and never changes,
 * so the stored order itself is the fingerprint that an idempotency key is checked against.
 */
export function isOrderOf(stored: Order, requested: NewOrder): boolean {
  return (
    areEqual(stored, requested, orderFields) &&
    stored.items.length === requested.items.length &&
    requested.items.every((item, index) => areEqual(stored.items[index]!, item, orderItemSchema.shape))
  );
}

function areEqual<T extends object>(one: T, other: T, fields: Readonly<Partial<Record<keyof T, unknown>>>): boolean {
  return (Object.keys(fields) as (keyof T)[]).every((name) => one[name] === other[name]);
}

/** The response for an order. The total keeps all its digits, which a JavaScript number would not. */
export function formatOrder(order: Order): z.input<typeof orderSchema> {
  return { ...order, items: [...order.items], totalCents: rawJSON(String(order.totalCents)) };
}
