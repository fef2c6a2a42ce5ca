import { describe, expect, it } from 'vitest';
import { type CartLine, reduceCart } from '../../../../cart-sink/rule/reduce-cart.ts';
import type { OrderPlacedItem } from '../../../../schemas/order-placed.ts';
import { createEvent } from '../../../support/examples/sink-events.ts';

const orderId = '01a20000-0000-7000-8000-000000000001';
const line = (lineId: string, sku: string, quantity: number, userId = 'ada'): CartLine => ({
  lineId,
  userId,
  sku,
  quantity,
});
const item = (lineNo: number, sku: string, quantity: number, cartLineId: string | null = null): OrderPlacedItem => ({
  lineNo,
  sku,
  quantity,
  unitPriceCents: 100n,
  cartLineId,
});
const order = (items: readonly OrderPlacedItem[], source = 'cart') =>
  createEvent({ orderId, userId: 'ada', source, items });

describe('reducing a cart by an order', () => {
  it('leaves the rest of a line that was ordered in part', () => {
    expect(reduceCart([line('a', 'tea', 5)], order([item(1, 'tea', 3)]))).toEqual({
      changes: [{ lineId: 'a', quantity: 2 }],
      removals: [{ orderId, lineNo: 1, lineId: 'a', sku: 'tea', ordered: 3, removed: 3, outcome: 'removed' }],
    });
  });

  it('brings a line that was ordered as a whole to zero', () => {
    expect(reduceCart([line('a', 'tea', 3)], order([item(1, 'tea', 3)])).changes).toEqual([
      { lineId: 'a', quantity: 0 },
    ]);
  });

  it('takes no more than is there, and says so', () => {
    const { changes, removals } = reduceCart([line('a', 'tea', 3)], order([item(1, 'tea', 4)]));
    expect(changes).toEqual([{ lineId: 'a', quantity: 0 }]);
    expect(removals[0]).toMatchObject({ lineId: 'a', ordered: 4, removed: 3, outcome: 'partial' });
  });

  it('adds up two items of one SKU', () => {
    const { changes, removals } = reduceCart([line('a', 'tea', 5)], order([item(1, 'tea', 2), item(2, 'tea', 2)]));
    expect(changes).toEqual([{ lineId: 'a', quantity: 1 }]);
    expect(removals.map(({ removed }) => removed)).toEqual([2, 2]);
  });

  it('finds nothing left for an item after another one took it all', () => {
    const { changes, removals } = reduceCart([line('a', 'tea', 2)], order([item(1, 'tea', 2), item(2, 'tea', 1)]));
    expect(changes).toEqual([{ lineId: 'a', quantity: 0 }]);
    expect(removals[1]).toMatchObject({ lineId: null, removed: 0, outcome: 'absent' });
  });

  it('records goods that are not in the cart', () => {
    expect(reduceCart([], order([item(1, 'tea', 1)]))).toEqual({
      changes: [],
      removals: [{ orderId, lineNo: 1, lineId: null, sku: 'tea', ordered: 1, removed: 0, outcome: 'absent' }],
    });
  });

  it("never touches another user's line or another SKU", () => {
    const others = [line('b', 'tea', 5, 'bob'), line('c', 'coffee', 5)];
    expect(reduceCart(others, order([item(1, 'tea', 1)])).changes).toEqual([]);
  });

  it('leaves the cart alone when the order is direct, and still records every item', () => {
    const direct = order([item(1, 'tea', 1), item(2, 'tea', 1, 'a')], 'direct');
    const { changes, removals } = reduceCart([line('a', 'tea', 5)], direct);
    expect(changes).toEqual([]);
    expect(removals.map(({ outcome, removed }) => [outcome, removed])).toEqual([
      ['direct', 0],
      ['direct', 0],
    ]);
  });
});

describe('an item that names its cart line', () => {
  it('reduces that line', () => {
    expect(reduceCart([line('a', 'tea', 5)], order([item(1, 'tea', 2, 'a')])).changes).toEqual([
      { lineId: 'a', quantity: 3 },
    ]);
  });

  it('takes nothing from goods added later under a new line', () => {
    const { changes, removals } = reduceCart([line('new', 'tea', 5)], order([item(1, 'tea', 2, 'old')]));
    expect(changes).toEqual([]);
    expect(removals[0]).toMatchObject({ lineId: null, removed: 0, outcome: 'absent' });
  });

  it.each([
    ["another user's line", line('x', 'tea', 5, 'bob')],
    ['a line of another SKU', line('x', 'coffee', 5)],
  ])('takes nothing when it names %s, not even from the line that would fit', (_what, named) => {
    const { changes, removals } = reduceCart([line('a', 'tea', 5), named], order([item(1, 'tea', 2, 'x')]));
    expect(changes).toEqual([]);
    expect(removals[0]).toMatchObject({ lineId: null, removed: 0, outcome: 'mismatch' });
  });
});
