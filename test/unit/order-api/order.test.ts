import { describe, expect, it } from 'vitest';
import {
  formatOrder,
  isOrderOf,
  type NewOrder,
  newOrderSchema,
  type Order,
  orderSchema,
  sumCents,
} from '../../../order-api/order.ts';
import { findLacks, UnfitPublicationError } from '../../../order-api/publication.ts';

const requested: NewOrder = {
  userId: 'ada',
  source: 'cart',
  currency: 'USD',
  items: [
    { sku: 'tea', quantity: 2, unitPriceCents: 499, cartLineId: '01a2078b-6dd0-7e55-b9b7-bdf0480e45b8' },
    { sku: 'tea', quantity: 1, unitPriceCents: 499 },
  ],
};
const stored: Order = {
  ...requested,
  orderId: '01a2078b-6dd0-7e55-b9b7-bdf0480e45b9',
  status: 'paid',
  totalCents: 1497n,
  placedAt: '2026-11-23T08:00:00.123456Z',
  items: requested.items.map((item, index) => ({ lineNo: index + 1, ...item })),
};

describe('the total of an order', () => {
  it('adds up quantity times price', () => {
    expect(sumCents(requested.items)).toBe(1497n);
  });

  it('is exact for the largest order there is, and a safe JSON number', () => {
    const largest = sumCents(Array(500).fill({ sku: 'a', quantity: 1_000_000, unitPriceCents: 10_000_000 }));
    expect(largest).toBe(5_000_000_000_000_000n);
    expect(largest).toBeLessThan(BigInt(Number.MAX_SAFE_INTEGER));
  });
});

describe('an idempotency key that comes again', () => {
  it('matches the same order, whatever its status and line numbers', () => {
    expect(isOrderOf(stored, requested)).toBe(true);
    const gaps = stored.items.map((item) => ({ ...item, lineNo: item.lineNo * 10 }));
    expect(isOrderOf({ ...stored, items: gaps }, requested)).toBe(true);
  });

  it.each<[string, Partial<NewOrder>]>([
    ['another user', { userId: 'bob' }],
    ['another source', { source: 'direct' }],
    ['another currency', { currency: 'EUR' }],
    ['an item less', { items: requested.items.slice(0, 1) }],
    ['an item more', { items: [...requested.items, requested.items[0]!] }],
    ['the items the other way round', { items: requested.items.toReversed() }],
    ['another SKU', { items: [{ ...requested.items[0]!, sku: 'coffee' }, requested.items[1]!] }],
    ['another quantity', { items: [{ ...requested.items[0]!, quantity: 3 }, requested.items[1]!] }],
    ['another price', { items: [{ ...requested.items[0]!, unitPriceCents: 500 }, requested.items[1]!] }],
    ['a cart line where there was none', { items: [requested.items[0]!, requested.items[0]!] }],
    ['no cart line where there was one', { items: [requested.items[1]!, requested.items[1]!] }],
  ])('does not match an order with %s', (_what, change) => {
    expect(isOrderOf(stored, { ...requested, ...change })).toBe(false);
  });
});

describe('an existing publication', () => {
  it('is fit when it publishes inserts of both tables as a whole', () => {
    expect(findLacks({ publishes_insert: true, whole_tables: ['order_items', 'orders'] })).toEqual([]);
  });

  it('is refused with everything that it lacks, and the repair', () => {
    const lacks = findLacks({ publishes_insert: false, whole_tables: ['orders'] });
    expect(lacks).toEqual(['all rows and columns of public.order_items', 'inserts']);
    const { message } = new UnfitPublicationError('tills', lacks);
    expect(message).toContain('all rows and columns of public.order_items, inserts');
    expect(message).toMatch(/Set PUBLICATION_NAME .* DROP PUBLICATION "tills"/);
  });
});

const item = { sku: 'tea:green.1', quantity: 1, unitPriceCents: 499 };
const order = { userId: 'ada', items: [item] };

/** Paths of the fields that are refused; empty when the order is accepted. */
const refusedFields = (body: unknown): string[] => {
  const result = newOrderSchema.safeParse(body);
  return result.success ? [] : result.error.issues.map((issue) => issue.path.join('.'));
};
const withItem = (change: object) => ({ ...order, items: [item, { ...item, ...change }] });

describe('a request to place an order', () => {
  it('is by default of the cart and in US dollars', () => {
    expect(newOrderSchema.parse(order)).toEqual({ ...order, source: 'cart', currency: 'USD' });
  });

  it.each([
    ['a user id with a NUL', { ...order, userId: '\0\0\0\0' }, 'userId'],
    ['a user id that is empty', { ...order, userId: '' }, 'userId'],
    ['a user id of 65 characters', { ...order, userId: 'a'.repeat(65) }, 'userId'],
    ['a user id that ends in a line feed', { ...order, userId: 'ada\n' }, 'userId'],
    ['a user id that is a number', { ...order, userId: 7 }, 'userId'],
    ['no user id', { items: [item] }, 'userId'],
    ['another source', { ...order, source: 'phone' }, 'source'],
    ['a currency in lower case', { ...order, currency: 'usd' }, 'currency'],
    ['a currency of four letters', { ...order, currency: 'USDT' }, 'currency'],
    ['no items', { userId: 'ada' }, 'items'],
    ['zero items', { ...order, items: [] }, 'items'],
    ['501 items', { ...order, items: Array(501).fill(item) }, 'items'],
    ['a SKU with a space', withItem({ sku: 'green tea' }), 'items.1.sku'],
    ['quantity 0', withItem({ quantity: 0 }), 'items.1.quantity'],
    ['quantity 1.5', withItem({ quantity: 1.5 }), 'items.1.quantity'],
    ['quantity 1e9', withItem({ quantity: 1e9 }), 'items.1.quantity'],
    ['quantity 1,000,001', withItem({ quantity: 1_000_001 }), 'items.1.quantity'],
    ['a quantity in text', withItem({ quantity: '1' }), 'items.1.quantity'],
    ['a negative price', withItem({ unitPriceCents: -1 }), 'items.1.unitPriceCents'],
    ['a price above the limit', withItem({ unitPriceCents: 10_000_001 }), 'items.1.unitPriceCents'],
    ['a price of half a cent', withItem({ unitPriceCents: 0.5 }), 'items.1.unitPriceCents'],
    ['no price', { ...order, items: [{ sku: 'tea', quantity: 1 }] }, 'items.0.unitPriceCents'],
    ['a cart line id that is no UUID', withItem({ cartLineId: 'line-1' }), 'items.1.cartLineId'],
  ])('is refused with %s, naming the field', (_what, body, field) => {
    expect(refusedFields(body)).toEqual([field]);
  });

  it('is refused with fields that it does not know', () => {
    expect(newOrderSchema.safeParse({ ...order, total: 1 }).error?.issues).toMatchObject([
      { keys: ['total'], path: [] },
    ]);
    expect(newOrderSchema.safeParse(withItem({ cartLineID: 1 })).error?.issues).toMatchObject([
      { keys: ['cartLineID'], path: ['items', 1] },
    ]);
  });

  it('is accepted at every limit', () => {
    const largest = { sku: 'A'.repeat(64), quantity: 1_000_000, unitPriceCents: 10_000_000 };
    expect(refusedFields({ userId: '._:-'.repeat(16), items: Array(500).fill(largest) })).toEqual([]);
    expect(refusedFields(withItem({ quantity: 1, unitPriceCents: 0 }))).toEqual([]);
  });

  it('takes a cart line id of any UUID version, in lower case from then on', () => {
    const cartLineId = 'FFFFFFFF-0000-0000-0000-00000000000A';
    expect(newOrderSchema.parse(withItem({ cartLineId })).items[1]?.cartLineId).toBe(cartLineId.toLowerCase());
  });
});

describe('an order that is answered', () => {
  it('keeps every digit of a total above 2^53', () => {
    const answered = orderSchema.encode(
      formatOrder({
        orderId: '01a2078b-6dd0-7e55-b9b7-bdf0480e45b8',
        userId: 'ada',
        status: 'placed',
        source: 'cart',
        currency: 'USD',
        totalCents: 9_223_372_036_854_775_807n,
        placedAt: '2026-11-23T08:00:00.123456Z',
        items: [{ lineNo: 1, ...item }],
      }),
    );
    expect(JSON.stringify(answered)).toContain('"totalCents":9223372036854775807,');
  });
});
