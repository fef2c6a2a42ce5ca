import { describe, expect, it } from 'vitest';
import {
  formatOrder,
  idempotencyHeaders,
  newOrderSchema,
  orderSchema,
  pageQuery,
} from '../../../../order-api/routes/order-schemas.ts';

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

describe('an idempotency key', () => {
  const accepts = (key: string) => idempotencyHeaders.safeParse({ 'idempotency-key': key }).success;

  it('is 1 to 255 visible ASCII characters', () => {
    expect(['!', '~', 'k'.repeat(255)].map(accepts)).toEqual([true, true, true]);
    expect(['', 'k'.repeat(256), 'a b', 'a\tb', 'é', 'a\x7f'].map(accepts)).toEqual(Array(6).fill(false));
  });

  it('leaves the other headers of the request alone', () => {
    expect(idempotencyHeaders.parse({ accept: '*/*' })).toEqual({ accept: '*/*' });
  });
});

describe('a page of orders', () => {
  it('has 20 orders unless 1 to 100 are asked for', () => {
    expect(pageQuery.parse({})).toEqual({ limit: 20 });
    expect(pageQuery.parse({ limit: '100' })).toEqual({ limit: 100 });
    const refused = ['0', '101', '-1', '1.5', '', 'ten', ['5', '6']];
    expect(refused.filter((limit) => pageQuery.safeParse({ limit }).success)).toEqual([]);
  });

  it('can not be asked for with a parameter that it does not know', () => {
    expect(pageQuery.safeParse({ offset: '1' }).success).toBe(false);
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
