/**
 * What a batch of orders takes out of carts: the rule of reduce-cart, folded over the orders in Kafka's sequence, since
 * several of them may touch one line. Pure.
 *
 * Guarantees that the result is the one of applying the orders one after the other, with each line written once.
 */
import type { OrderPlaced } from '#schemas/order-placed.ts';
import { formatCartKey } from './cart-state.ts';
import { type CartLine, type LineChange, type Removal, type Rule, reduceCart } from './reduce-cart.ts';

export interface BatchReduction {
  /** Lines with something left, each once. */
  readonly reduced: readonly LineChange[];
  /** Lines that reached zero. */
  readonly emptied: readonly string[];
  readonly removals: readonly Removal[];
}

/** `lines`: the live lines of the orders' users and SKUs, and those that items name. */
export function reduceBatch(
  lines: readonly CartLine[],
  orders: readonly OrderPlaced[],
  reduce: Rule['reduce'] = reduceCart,
): BatchReduction {
  const live = new Map(lines.map((line) => [formatCartKey(line), line]));
  const byId = new Map(lines.map((line) => [line.lineId, line]));
  const reduced = new Map<string, LineChange>();
  const emptied: string[] = [];
  const removals: Removal[] = [];

  for (const order of orders) {
    const concerned = new Set<CartLine>();
    for (const { sku, cartLineId } of order.items) {
      const line = live.get(formatCartKey({ userId: order.userId, sku }));
      if (line !== undefined) concerned.add(line);
      const named = cartLineId === null ? undefined : byId.get(cartLineId);
      if (named !== undefined) concerned.add(named);
    }
    const reduction = reduce([...concerned], order);
    for (const change of reduction.changes) {
      const line = { ...byId.get(change.lineId)!, quantity: change.quantity };
      if (change.quantity === 0) {
        live.delete(formatCartKey(line));
        byId.delete(line.lineId);
        reduced.delete(line.lineId);
        emptied.push(line.lineId);
      } else {
        live.set(formatCartKey(line), line);
        byId.set(line.lineId, line);
        reduced.set(line.lineId, change);
      }
    }
    removals.push(...reduction.removals);
  }
  return { reduced: [...reduced.values()], emptied, removals };
}
