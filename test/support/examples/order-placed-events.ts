/**
 * OrderPlaced events for tests: one plain example, and fast-check generators of every event that can be applied.
 */
import fc from 'fast-check';
import { toLsn } from '#schemas/lsn.ts';
import type { OrderPlaced, OrderPlacedItem } from '#schemas/order-placed.ts';

export function createItem(changes: Partial<OrderPlacedItem> = {}): OrderPlacedItem {
  return {
    lineNo: 1,
    sku: 'sku-1',
    quantity: 2,
    unitPriceCents: 1999n,
    cartLineId: '0199b7a4-5c1e-7d3a-8f00-0000000000c1',
    ...changes,
  };
}

export function createEvent(changes: Partial<OrderPlaced> = {}): OrderPlaced {
  return {
    generation: 1,
    timeline: 1,
    commitLsn: toLsn(0x16b3748n),
    ordinal: 0,
    committedAt: 1_763_900_000_123_456n,
    orderId: '0199b7a4-5c1e-7d3a-8f00-000000000001',
    userId: 'user-1',
    source: 'cart',
    currency: 'USD',
    totalCents: 3998n,
    placedAt: 1_763_900_000_000_001n,
    items: [createItem()],
    ...changes,
  };
}

const LARGEST_INT = 2 ** 31 - 1;
const identifier = fc.stringMatching(/^[A-Za-z0-9._:-]{1,64}$/);
const freeText = fc.string({ unit: 'grapheme', minLength: 1 }).filter((text) => !text.includes('\0'));
const long = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
const notNegative = fc.bigInt({ min: 0n, max: 2n ** 63n - 1n });

const item = fc.record({
  lineNo: fc.integer({ min: -LARGEST_INT - 1, max: LARGEST_INT }),
  sku: identifier,
  quantity: fc.integer({ min: 1, max: 1_000_000 }),
  unitPriceCents: notNegative,
  cartLineId: fc.option(fc.uuid(), { nil: null }),
});

/** Any event without a problem. */
export const anyEvent: fc.Arbitrary<OrderPlaced> = fc.record({
  generation: fc.integer({ min: 1, max: LARGEST_INT }),
  timeline: fc.integer({ min: 1, max: LARGEST_INT }),
  commitLsn: notNegative.map(toLsn),
  ordinal: fc.nat(LARGEST_INT),
  committedAt: long,
  orderId: fc.uuid(),
  userId: identifier,
  source: freeText,
  currency: freeText,
  totalCents: long,
  placedAt: long,
  items: fc.uniqueArray(item, { minLength: 1, maxLength: 20, selector: ({ lineNo }) => lineNo }),
});
