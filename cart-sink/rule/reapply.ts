/**
 * What an order's effect would be under a rule today, and the difference from what it did remove. Pure.
 *
 * An order is shown its lines as if it had not been applied: what it removed from a line is added to what is there now.
 * Guarantees (I10): where the rule takes what the order took, nothing changes, whatever the user has done to the cart
 * since; goods that the order could not see are never taken; each difference is an entry of its own, so the sum of an
 * order's entries is its effect. Leaves to apply/change-carts.ts: locks, and lines that are added meanwhile.
 */
import type { OrderPlaced, OrderPlacedItem } from '#schemas/order-placed.ts';
import {
  applyOrder,
  type CartState,
  createCartState,
  type Effects,
  findLines,
  type RemovalEntry,
  type StoredLine,
} from './cart-state.ts';
import { type CartLine, MOST_OF_A_LINE, type Removal, type Rule } from './reduce-cart.ts';
import { isVisible, olderThan } from './snapshot-visibility.ts';

/** What the database holds of an applied order. */
export interface AppliedOrder {
  /** Taken before the order's lines were read; null: the order sees every line. */
  readonly snapshot: string | null;
  /** By entry. */
  readonly removals: readonly Pick<RemovalEntry, 'lineNo' | 'entry' | 'lineId' | 'lineCreatedXid' | 'removed'>[];
}

/**
 * Applies orders in sequence, each to what the ones before it left. `lines` are the live lines of their users and SKUs,
 * and those that items name. `applied` is undefined for an order that is new to the ledger: it is applied; any other is
 * reapplied. An order that comes twice is reapplied to its own effect.
 */
export function reapplyOrders(
  lines: readonly StoredLine[],
  orders: readonly { readonly order: OrderPlaced; readonly applied: AppliedOrder | undefined }[],
  reduce: Rule['reduce'],
): Effects {
  const cart = createCartState(lines);
  const done = new Map<string, AppliedOrder>();
  const all = orders.map(({ order, applied }) => {
    const before = done.get(order.orderId) ?? applied;
    const entries = before === undefined ? applyOrder(cart, order, reduce) : reapplyOrder(cart, order, before, reduce);
    const removals = [...(before?.removals ?? []), ...entries];
    done.set(order.orderId, { snapshot: before?.snapshot ?? null, removals });
    return entries;
  });
  return { entries: all, lines: cart.changed() };
}

function reapplyOrder(cart: CartState, order: OrderPlaced, applied: AppliedOrder, reduce: Rule['reduce']) {
  const entries = Map.groupBy(applied.removals, ({ lineNo }) => lineNo);
  const pastOf = new Map(order.items.map(({ lineNo }) => [lineNo, recallItem(entries.get(lineNo) ?? [])]));
  const { removals } = reduce(recallLines(cart, order, applied, pastOf), order);
  const wanted = new Map(removals.map((row) => [row.lineNo, row]));
  const differences = order.items.map((item) => {
    const [past, row] = [pastOf.get(item.lineNo)!, wanted.get(item.lineNo)!];
    return { item, past, row, more: row.removed - past.removed };
  });
  // Give back first: another item may take it.
  const sequence = differences.toSorted((a, b) => Math.sign(a.more) - Math.sign(b.more));
  return sequence.flatMap(({ item, past, row, more }): RemovalEntry[] => {
    const live = cart.live(order.userId, item.sku);
    const line = live ?? (more < 0 ? restoreLine(order, item, past, applied) : undefined);
    if (line === undefined) return [];
    const removed =
      more > 0 ? Math.min(more, countTakeable(line, past, row)) : Math.max(more, line.quantity - MOST_OF_A_LINE);
    if (more === 0 || removed === 0) return [];
    cart.set({ ...line, quantity: line.quantity - removed });
    const { lineId, createdXid: lineCreatedXid } = line;
    return [{ ...row, ordered: item.quantity, entry: past.lastEntry + 1, lineId, lineCreatedXid, removed }];
  });
}

/**
 * The order's lines as if it had not been applied: for each SKU the line that it reduced, live or not, else the live
 * line if the order could see it. A user has one live line of a SKU at a time, so where one was reduced there was no
 * other: a line that came back or was added since is not for this order.
 */
function recallLines(
  cart: CartState,
  order: OrderPlaced,
  { snapshot, removals }: AppliedOrder,
  pastOf: ReadonlyMap<number, PastItem>,
): CartLine[] {
  const { userId, items } = order;
  const skus = new Map(items.map(({ lineNo, sku }) => [lineNo, sku]));
  const reduced = new Map<string, CartLine>();
  for (const { lineId, lineNo } of removals) {
    const sku = skus.get(lineNo)!;
    // The first entry with a line took from it: before that there was nothing to give back.
    if (lineId === null || reduced.has(sku)) continue;
    reduced.set(sku, { lineId, userId, sku, quantity: cart.byId(lineId)?.quantity ?? 0 });
  }
  for (const { lineNo, sku } of items) {
    const line = reduced.get(sku);
    const removed = line && pastOf.get(lineNo)!.byLine.get(line.lineId);
    if (line !== undefined) reduced.set(sku, { ...line, quantity: line.quantity + (removed ?? 0) });
  }
  const seen = findLines(cart, order).filter(
    (line) =>
      !(line.userId === userId && reduced.has(line.sku)) && (snapshot === null || isVisible(line.createdXid, snapshot)),
  );
  return [...reduced.values(), ...seen].filter(({ quantity }) => quantity > 0);
}

/** The sum of an item's entries so far. */
interface PastItem {
  readonly removed: number;
  readonly lastEntry: number;
  readonly byLine: ReadonlyMap<string, number>;
}

function recallItem(entries: AppliedOrder['removals']): PastItem {
  const byLine = new Map<string, number>();
  let [removed, lastEntry] = [0, -1];
  for (const row of entries) {
    removed += row.removed;
    lastEntry = Math.max(lastEntry, row.entry);
    if (row.lineId !== null) byLine.set(row.lineId, (byLine.get(row.lineId) ?? 0) + row.removed);
  }
  return { removed, lastEntry, byLine };
}

/** From the line that the rule chose: all of it. From another: only what this item gave back to it. */
function countTakeable(line: CartLine, past: PastItem, wanted: Removal): number {
  if (line.lineId === wanted.lineId) return line.quantity;
  return Math.min(line.quantity, Math.max(0, -(past.byLine.get(line.lineId) ?? 0)));
}

/** The line that the item reduced, empty, with its former age: orders that could see it will see it again. */
function restoreLine({ userId }: OrderPlaced, { sku }: OrderPlacedItem, past: PastItem, applied: AppliedOrder) {
  const [lineId] = [...past.byLine].find(([, removed]) => removed > 0) ?? [];
  if (lineId === undefined) return undefined;
  const recorded = applied.removals.find((row) => row.lineId === lineId && row.lineCreatedXid !== null);
  // Entries older than the column: whoever sees what this order saw sees the line.
  const createdXid = recorded?.lineCreatedXid ?? olderThan(applied.snapshot!);
  return { lineId, userId, sku, quantity: 0, createdXid };
}
