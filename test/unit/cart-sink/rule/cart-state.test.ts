import { describe, expect, it } from 'vitest';
import { applyOrders, type StoredLine } from '../../../../cart-sink/rule/cart-state.ts';
import { reduceCart } from '../../../../cart-sink/rule/reduce-cart.ts';
import type { OrderPlacedItem } from '../../../../schemas/order-placed.ts';
import { createEvent } from '../../../support/examples/sink-events.ts';

const orderId = '01a20000-0000-7000-8000-000000000001';
const line = (lineId: string, sku: string, quantity: number): StoredLine => ({
  lineId,
  userId: 'ada',
  sku,
  quantity,
  createdXid: '50',
});
const item = (lineNo: number, sku: string, quantity: number, cartLineId: string | null = null): OrderPlacedItem => ({
  lineNo,
  sku,
  quantity,
  unitPriceCents: 100n,
  cartLineId,
});
const order = (items: readonly OrderPlacedItem[]) => createEvent({ orderId, userId: 'ada', source: 'cart', items });

describe('applying the orders of a batch', () => {
  it('lets each order see what the ones before it left, and writes a line once', () => {
    const orders = [2, 3, 1].map((quantity) => order([item(1, 'tea', quantity)]));
    const { entries, lines } = applyOrders([line('a', 'tea', 7)], orders, reduceCart);
    expect(lines).toEqual([line('a', 'tea', 1)]);
    expect(entries.flat().map(({ removed }) => removed)).toEqual([2, 3, 1]);
  });

  it('does not find a line again that an earlier order emptied, by SKU or by name', () => {
    const orders = [
      order([item(1, 'tea', 1)]),
      order([item(1, 'tea', 9)]),
      order([item(1, 'tea', 1), item(2, 'tea', 1, 'a')]),
    ];
    const { entries, lines } = applyOrders([line('a', 'tea', 3)], orders, reduceCart);
    expect(lines).toEqual([line('a', 'tea', 0)]);
    expect(entries.flat().map(({ outcome }) => outcome)).toEqual(['removed', 'partial', 'absent', 'absent']);
  });
});
