import { describe, expect, it } from 'vitest';
import { isOrderOf, type NewOrder, type Order, sumCents } from '../../../order-api/order.ts';
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
