/**
 * The cart lines of a batch while its orders are applied to them one after the other. No I/O.
 *
 * Guarantees one live line for each user and SKU, as the database does. A line that reaches zero is no longer live; a
 * replay may bring it back. Each changed line appears once in `changed`, so the database writes it once.
 */
import type { OrderPlaced } from '#schemas/order-placed.ts';
import type { CartLine, Removal, Rule } from './reduce-cart.ts';

/** A line of the carts database, with the transaction that created it. */
export interface StoredLine extends CartLine {
  readonly createdXid: string;
}

/** A row of `cart_removals`. */
export interface RemovalEntry extends Removal {
  /** 0 when the order is applied; one more each time that a replay changes what the item removed. */
  readonly entry: number;
  /** Null with `lineId`. */
  readonly lineCreatedXid: string | null;
}

/** What orders did to cart lines. */
export interface Effects {
  /** For each order the entries to record; none for an order whose effect stays. */
  readonly entries: readonly (readonly RemovalEntry[])[];
  /** The lines that changed, with their new quantities; 0: deleted. A deleted line may have come back. */
  readonly lines: readonly StoredLine[];
}

export type CartState = ReturnType<typeof createCartState>;

/** What makes a live line unique, as one key; neither part can contain the separator. */
export function formatCartKey(userId: string, sku: string): string {
  return `${userId}\n${sku}`;
}

/** `lines` must be live. */
export function createCartState(lines: readonly StoredLine[]) {
  // A line that reaches zero stays here, empty: taking it out of the maps would take longer.
  const byKey = new Map<string, StoredLine>();
  const byId = new Map<string, StoredLine>();
  const changed = new Map<string, StoredLine>();
  const put = (line: StoredLine): void => {
    byKey.set(formatCartKey(line.userId, line.sku), line);
    byId.set(line.lineId, line);
  };
  for (const line of lines) put(line);
  return {
    live: (userId: string, sku: string): StoredLine | undefined => unlessEmpty(byKey.get(formatCartKey(userId, sku))),
    /** Live lines only; undefined for null. */
    byId: (lineId: string | null): StoredLine | undefined =>
      lineId === null ? undefined : unlessEmpty(byId.get(lineId)),
    /** Stores a line's quantity; 0 removes it. */
    set: (line: StoredLine): void => {
      changed.set(line.lineId, line);
      put(line);
    },
    /** The lines that were set, in their present state. */
    changed: (): readonly StoredLine[] => [...changed.values()],
  };
}

function unlessEmpty(line: StoredLine | undefined): StoredLine | undefined {
  return line === undefined || line.quantity === 0 ? undefined : line;
}

/** The live lines that an order may reduce: those of its user and SKUs, and those that its items name. */
export function findLines(cart: CartState, { userId, items }: OrderPlaced): ReadonlySet<StoredLine> {
  const lines = new Set<StoredLine>();
  for (const { sku, cartLineId } of items) {
    const live = cart.live(userId, sku);
    const named = cart.byId(cartLineId);
    if (live !== undefined) lines.add(live);
    if (named !== undefined) lines.add(named);
  }
  return lines;
}

/** Applies an order that is new to the ledger; returns what it removed, one entry an item. */
export function applyOrder(cart: CartState, order: OrderPlaced, reduce: Rule['reduce']): RemovalEntry[] {
  const { changes, removals } = reduce([...findLines(cart, order)], order);
  const entries = removals.map((row) => ({
    ...row,
    entry: 0,
    lineCreatedXid: cart.byId(row.lineId)?.createdXid ?? null,
  }));
  for (const { lineId, quantity } of changes) cart.set({ ...cart.byId(lineId)!, quantity });
  return entries;
}

/** Applies orders that are new to the ledger, each to what the ones before it left. */
export function applyOrders(
  lines: readonly StoredLine[],
  orders: readonly OrderPlaced[],
  reduce: Rule['reduce'],
): Effects {
  const cart = createCartState(lines);
  const entries = orders.map((order) => applyOrder(cart, order, reduce));
  return { entries, lines: cart.changed() };
}
