// The rule against a model that takes the goods out one piece at a time, and against itself: a batch must do what its
// orders would do one after the other.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { applyOrders } from '../../cart-sink/rule/cart-state.ts';
import { type CartLine, reduceCart } from '../../cart-sink/rule/reduce-cart.ts';
import type { OrderPlaced } from '../../schemas/order-placed.ts';
import { createEvent } from '../support/examples/sink-events.ts';

const users = ['ada', 'bob'];
const skus = ['tea', 'coffee', 'milk'];
const slots = users.flatMap((userId) => skus.map((sku) => ({ userId, sku })));

/** At most one line a user and SKU; ids from a pool that is larger, so that items may name lines that are gone. */
const cart: fc.Arbitrary<CartLine[]> = fc
  .tuple(...slots.map(() => fc.option(fc.integer({ min: 1, max: 6 }))))
  .map((quantities) =>
    quantities.flatMap((quantity, index) =>
      quantity === null ? [] : [{ lineId: `line-${index}`, ...slots[index]!, quantity }],
    ),
  );

const order: fc.Arbitrary<OrderPlaced> = fc
  .record({
    orderId: fc.uuid(),
    userId: fc.constantFrom(...users),
    source: fc.constantFrom('cart', 'cart', 'cart', 'direct'),
    items: fc.array(
      fc.record({
        sku: fc.constantFrom(...skus),
        quantity: fc.integer({ min: 1, max: 8 }),
        cartLineId: fc.option(fc.constantFrom(...[0, 1, 2, 3, 4, 5, 6].map((index) => `line-${index}`))),
      }),
      { minLength: 1, maxLength: 5 },
    ),
  })
  .map(({ items, ...rest }) =>
    createEvent({ ...rest, items: items.map((item, index) => ({ lineNo: index + 1, unitPriceCents: 1n, ...item })) }),
  );

/** Every piece in the carts by itself; an item takes pieces as long as it may. */
function modelOrders(lines: readonly CartLine[], orders: readonly OrderPlaced[]) {
  let pieces = lines.flatMap(({ quantity, ...line }) => Array.from({ length: quantity }, () => line));
  const removed: number[] = [];
  for (const { userId, source, items } of orders) {
    for (const { sku, quantity, cartLineId } of items) {
      let taken = 0;
      pieces = pieces.filter((piece) => {
        const fits = piece.userId === userId && piece.sku === sku && (cartLineId ?? piece.lineId) === piece.lineId;
        const takes = source !== 'direct' && fits && taken < quantity;
        if (takes) taken += 1;
        return !takes;
      });
      removed.push(taken);
    }
  }
  const left = new Map<string, number>();
  for (const { lineId } of pieces) left.set(lineId, (left.get(lineId) ?? 0) + 1);
  return { left, removed };
}

function leftAfter(lines: readonly CartLine[], changes: readonly { lineId: string; quantity: number }[]) {
  const left = new Map(lines.map(({ lineId, quantity }) => [lineId, quantity]));
  for (const { lineId, quantity } of changes) {
    if (quantity === 0) left.delete(lineId);
    else left.set(lineId, quantity);
  }
  return left;
}

describe('the reduction rule', () => {
  it('takes out of a cart what the model takes', () => {
    fc.assert(
      fc.property(cart, order, (lines, one) => {
        const { changes, removals } = reduceCart(lines, one);
        const expected = modelOrders(lines, [one]);
        expect(leftAfter(lines, changes)).toEqual(expected.left);
        expect(removals.map(({ removed }) => removed)).toEqual(expected.removed);
        expect(new Set(changes.map(({ lineId }) => lineId)).size).toBe(changes.length);
      }),
    );
  });

  it('takes out of carts with a batch what its orders take one after the other', () => {
    fc.assert(
      fc.property(cart, fc.array(order, { maxLength: 8 }), (lines, orders) => {
        const stored = lines.map((line) => ({ ...line, createdXid: '1' }));
        const { lines: changes, entries } = applyOrders(stored, orders, reduceCart);
        const expected = modelOrders(lines, orders);
        expect(leftAfter(lines, changes)).toEqual(expected.left);
        expect(entries.flat().map(({ removed }) => removed)).toEqual(expected.removed);
        expect(new Set(changes.map(({ lineId }) => lineId)).size).toBe(changes.length);
      }),
    );
  });

  it('records for every item an outcome that agrees with what was removed', () => {
    fc.assert(
      fc.property(cart, order, (lines, one) => {
        for (const { ordered, removed, outcome, lineId } of reduceCart(lines, one).removals) {
          expect(lineId !== null).toBe(removed > 0);
          if (outcome === 'removed') expect(removed).toBe(ordered);
          else if (outcome === 'partial') expect(removed).toBeGreaterThan(0);
          else expect(removed).toBe(0);
          expect(outcome === 'direct').toBe(one.source === 'direct');
        }
      }),
    );
  });
});
