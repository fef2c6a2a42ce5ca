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
  /** By user and SKU. */
  const carts = new Map<string, Map<string, Present>>();
  const byId = new Map<string, Present>();
  const changed = new Set<Present>();
  const put = (line: StoredLine): Present => {
    const present = { line };
    carts.getOrInsertComputed(line.userId, () => new Map()).set(line.sku, present);
    byId.set(line.lineId, present);
    return present;
  };
  for (const line of lines) put(line);
  return {
    live: (userId: string, sku: string): StoredLine | undefined => unlessEmpty(carts.get(userId)?.get(sku)),
    /** Live lines only; undefined for null. */
    byId: (lineId: string | null): StoredLine | undefined =>
      lineId === null ? undefined : unlessEmpty(byId.get(lineId)),
    /** Stores a line's quantity; 0 removes it. */
    set: (line: StoredLine): void => {
      const present = byId.get(line.lineId);
      // A line that is live has its key: only one that comes back takes it again.
      if (present !== undefined && present.line.quantity > 0) present.line = line;
      else if (present !== undefined) changed.delete(present);
      changed.add(present?.line === line ? present : put(line));
    },
    /** The lines that were set, in their present state. */
    changed: (): readonly StoredLine[] => Array.from(changed, ({ line }) => line),
  };
}

/** A line in its present state. */
interface Present {
  line: StoredLine;
}

function unlessEmpty(present: Present | undefined): StoredLine | undefined {
  return present === undefined || present.line.quantity === 0 ? undefined : present.line;
}

/** The live lines that an order may reduce, some repeated: those of its user and SKUs, and those that its items name. */
export function findLines(cart: CartState, { userId, items }: OrderPlaced): StoredLine[] {
  const lines: StoredLine[] = [];
  for (const { sku, cartLineId } of items) {
    const live = cart.live(userId, sku);
    const named = cart.byId(cartLineId);
    if (live !== undefined) lines.push(live);
    if (named !== undefined && named !== live) lines.push(named);
  }
  return lines;
}

/** Applies an order that is new to the ledger; returns what it removed, one entry an item. */
export function applyOrder(cart: CartState, order: OrderPlaced, reduce: Rule['reduce']): RemovalEntry[] {
  const { changes, removals } = reduce(findLines(cart, order), order);
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
