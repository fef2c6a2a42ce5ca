// What carts must be, by the plainest model there is: a map of lines, reduced order by order. Where goods were added
// while orders were being applied, nobody outside knows which came first; then the model runs twice, additions first and
// additions last, and only what both agree on is demanded. What must hold in any order (goods are conserved) is left to
// judge-carts.ts.

import type { OrderEvent } from './event.ts';
import type { LineFact } from './facts.ts';

/** Goods added while the pipeline runs: the line that the cart API answered, and how much was added to it. */
export type Addition = LineFact;

/** What one item of an order takes: from which line (null: none), and how much. */
interface Reduction {
  readonly lineId: string | null;
  readonly removed: number;
}

export interface ModelOutcome {
  /** Quantity by line id; lines at zero are gone. */
  readonly lines: ReadonlyMap<string, LineFact>;
  /** By {@link itemKey}; items of direct orders are absent. */
  readonly reductions: ReadonlyMap<string, Reduction>;
}

export const itemKey = (orderId: string, lineNo: number) => `${orderId}/${lineNo}`;
export const cartKey = (userId: string, sku: string) => `${userId} ${sku}`;

/** Applies `additions` before or after all `orders`, which come in topic order for each user. */
export function runCartModel(options: {
  readonly opening: readonly LineFact[];
  readonly additions: readonly Addition[];
  readonly orders: readonly OrderEvent[];
  readonly additionsFirst: boolean;
}): ModelOutcome {
  const lines = new Map<string, LineFact>();
  const live = new Map<string, string>();
  const reductions = new Map<string, Reduction>();
  const put = (line: LineFact) => {
    lines.set(line.lineId, line);
    live.set(cartKey(line.userId, line.sku), line.lineId);
  };
  const add = (addition: Addition) => {
    const there = lines.get(addition.lineId)?.quantity ?? 0;
    put({ ...addition, quantity: there + addition.quantity });
  };
  const reduce = (order: OrderEvent, item: OrderEvent['items'][number]): Reduction => {
    const lineId = item.cartLineId ?? live.get(cartKey(order.userId, item.sku));
    const line = lineId === undefined ? undefined : lines.get(lineId);
    if (line === undefined || line.userId !== order.userId || line.sku !== item.sku)
      return { lineId: null, removed: 0 };
    const removed = Math.min(item.quantity, line.quantity);
    if (removed < line.quantity) {
      put({ ...line, quantity: line.quantity - removed });
    } else {
      lines.delete(line.lineId);
      live.delete(cartKey(line.userId, line.sku));
    }
    return { lineId: line.lineId, removed };
  };
  for (const line of options.opening) put(line);
  if (options.additionsFirst) for (const addition of options.additions) add(addition);
  for (const order of options.orders) {
    if (order.source === 'direct') continue;
    for (const item of order.items) reductions.set(itemKey(order.orderId, item.lineNo), reduce(order, item));
  }
  if (!options.additionsFirst) for (const addition of options.additions) add(addition);
  return { lines, reductions };
}
