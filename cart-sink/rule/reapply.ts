/**
 * What an order's effect would be under a rule today, and the difference to what it did remove. Pure.
 *
 * An order is shown its lines as if it had not happened: what it removed from a line is added to what is there now.
 * Guarantees (I10): where the rule takes from them what the order took, nothing changes, whatever the user has done to
 * the cart since; a user's goods that the order could not see are never taken; each difference is an entry of its own,
 * so that the sum of an order's entries is always its effect. Under another rule, goods taken in excess come back.
 * Leaves to apply/change-carts.ts: locks, and lines that come into being meanwhile.
 */
import type { OrderPlaced, OrderPlacedItem } from '#schemas/order-placed.ts';
import type { RemovalEntry } from '../sql/insert-cart-removals.ts';
import { createCartState, type StoredLine } from './cart-state.ts';
import { type CartLine, MOST_OF_A_LINE, type Removal, type Rule } from './reduce-cart.ts';
import { isVisible, olderThan } from './snapshot-visibility.ts';

/** What the ledger holds of an order. */
export interface AppliedOrder {
  /** Taken before its lines were read; null: it sees everything. */
  readonly snapshot: string | null;
  /** By entry. */
  readonly removals: readonly Pick<RemovalEntry, 'lineNo' | 'entry' | 'lineId' | 'lineCreatedXid' | 'removed'>[];
}

export interface Reapplied {
  /** For each order what is to be recorded; nothing for one whose effect stays. */
  readonly effects: readonly (readonly RemovalEntry[])[];
  /** The lines that changed, with their new quantities; 0 is gone. Some may have come back. */
  readonly lines: readonly StoredLine[];
}

/**
 * Applies and reapplies orders in sequence, each to what the ones before it left. `lines` are the live lines of their
 * users and SKUs, and those that items name. `applied` is undefined for an order that is new to the ledger. An order
 * that comes twice meets its own effect.
 */
export function reapplyOrders(
  lines: readonly StoredLine[],
  orders: readonly { readonly order: OrderPlaced; readonly applied: AppliedOrder | undefined }[],
  reduce: Rule['reduce'],
): Reapplied {
  const cart = createCartState(lines);
  const done = new Map<string, AppliedOrder>();
  const effects = orders.map(({ order, applied }) => {
    const before = done.get(order.orderId) ?? applied;
    const entries = before === undefined ? applyOrder(cart, order, reduce) : reapplyOrder(cart, order, before, reduce);
    const removals = [...(before?.removals ?? []), ...entries];
    done.set(order.orderId, { snapshot: before?.snapshot ?? null, removals });
    return entries;
  });
  return { effects, lines: cart.changed() };
}

type CartState = ReturnType<typeof createCartState>;

function applyOrder(cart: CartState, order: OrderPlaced, reduce: Rule['reduce']): RemovalEntry[] {
  const lines = new Set<StoredLine>();
  for (const { sku, cartLineId } of order.items) {
    for (const line of [cart.live(order.userId, sku), cart.byId(cartLineId)]) if (line !== undefined) lines.add(line);
  }
  const { changes, removals } = reduce([...lines], order);
  const createdXid = (id: string | null) => cart.byId(id)?.createdXid ?? null;
  const entries = removals.map((row) => ({ ...row, entry: 0, lineCreatedXid: createdXid(row.lineId) }));
  for (const { lineId, quantity } of changes) cart.set({ ...cart.byId(lineId)!, quantity });
  return entries;
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
  // What one item gives back, another may take.
  const sequence = differences.toSorted((a, b) => Math.sign(a.more) - Math.sign(b.more));
  return sequence.flatMap(({ item, past, row, more }): RemovalEntry[] => {
    const live = cart.live(order.userId, item.sku);
    const line = live ?? (more < 0 ? comeBack(order, item, past, applied) : undefined);
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
 * The order's lines as if it had not happened: for each SKU the one that it reduced, live or not, else the live one if it
 * could see that. A user has one live line of a SKU at a time, so where one was reduced there was no other: what came
 * back since, or was added, is not for this order.
 */
function recallLines(
  cart: CartState,
  { userId, items }: OrderPlaced,
  { snapshot, removals }: AppliedOrder,
  pastOf: ReadonlyMap<number, PastItem>,
): CartLine[] {
  const skus = new Map(items.map(({ lineNo, sku }) => [lineNo, sku]));
  const reduced = new Map<string, CartLine>();
  for (const { lineId, lineNo } of removals) {
    const sku = skus.get(lineNo)!;
    // The first entry with a line took from it: there is nothing to give back before that.
    if (lineId === null || reduced.has(sku)) continue;
    reduced.set(sku, { lineId, userId, sku, quantity: cart.byId(lineId)?.quantity ?? 0 });
  }
  for (const { lineNo, sku } of items) {
    const line = reduced.get(sku);
    const removed = line && pastOf.get(lineNo)!.byLine.get(line.lineId);
    if (line !== undefined) reduced.set(sku, { ...line, quantity: line.quantity + (removed ?? 0) });
  }
  const seen = new Set<CartLine>();
  for (const { sku, cartLineId } of items) {
    for (const line of [cart.live(userId, sku), cart.byId(cartLineId)]) {
      if (line === undefined || (line.userId === userId && reduced.has(line.sku))) continue;
      if (snapshot === null || isVisible(line.createdXid, snapshot)) seen.add(line);
    }
  }
  return [...reduced.values(), ...seen].filter(({ quantity }) => quantity > 0);
}

/** What an item did so far, in all. */
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

/** Of the line that the rule picked all that is there; of another only what it got back from this item. */
function countTakeable(line: CartLine, past: PastItem, wanted: Removal): number {
  if (line.lineId === wanted.lineId) return line.quantity;
  return Math.min(line.quantity, Math.max(0, -(past.byLine.get(line.lineId) ?? 0)));
}

/** The line that the item reduced, empty, as old as it was: orders that could see it will see it again. */
function comeBack({ userId }: OrderPlaced, { sku }: OrderPlacedItem, past: PastItem, applied: AppliedOrder) {
  const [lineId] = [...past.byLine].find(([, removed]) => removed > 0) ?? [];
  if (lineId === undefined) return undefined;
  const recorded = applied.removals.find((row) => row.lineId === lineId && row.lineCreatedXid !== null);
  // Entries from before there was that column: whoever sees what this order saw sees the line.
  const createdXid = recorded?.lineCreatedXid ?? olderThan(applied.snapshot!);
  return { lineId, userId, sku, quantity: 0, createdXid };
}
