/**
 * What an order takes out of a cart: the rule of the domain, and nothing else. Pure.
 *
 * Guarantees: never takes more than was ordered or than is there, never from another user's line, another SKU, or
 * (where the item names its line) another line; says for every item what it took. Subtraction is not idempotent, on
 * purpose: that an order is applied once is the ledger's business (I3), and applying it twice must show.
 */
import type { OrderPlaced, OrderPlacedItem } from '#schemas/order-placed.ts';

/** Stored with every applied order. Raise it with every change of the rule: replays compare versions. */
export const RULE_VERSION = 1;

/** The most that a cart line may hold. */
export const MOST_OF_A_LINE = 1_000_000;

export interface CartLine {
  readonly lineId: string;
  readonly userId: string;
  readonly sku: string;
  readonly quantity: number;
}

/**
 * removed: all that was ordered; partial: all that was there; absent: there is no such line (any more); mismatch: the
 * named line is another user's or of another SKU; direct: the order was not placed from the cart.
 */
export type Outcome = 'removed' | 'partial' | 'absent' | 'mismatch' | 'direct';

export interface Removal {
  readonly orderId: string;
  readonly lineNo: number;
  /** The line that was reduced; null when nothing was removed. */
  readonly lineId: string | null;
  readonly sku: string;
  readonly ordered: number;
  readonly removed: number;
  readonly outcome: Outcome;
}

export interface LineChange {
  readonly lineId: string;
  /** What is left; 0 deletes the line. */
  readonly quantity: number;
}

export interface Reduction {
  /** One for each line that was reduced. */
  readonly changes: readonly LineChange[];
  /** One for each item, in the order's sequence. */
  readonly removals: readonly Removal[];
}

/** A rule and its version, for those that apply whichever rule they are given. */
export interface Rule {
  readonly version: number;
  readonly reduce: (lines: readonly CartLine[], order: OrderPlaced) => Reduction;
}

/**
 * Reduces a cart by one order. `lines` holds the live lines of the order's user for the ordered SKUs (at most one for
 * each) and the lines that its items name, whoever they belong to; further lines do no harm.
 */
export function reduceCart(lines: readonly CartLine[], order: OrderPlaced): Reduction {
  const { orderId } = order;
  const left = new Map<string, number>();

  const removals = order.items.map((item): Removal => {
    const { lineNo, sku, quantity: ordered } = item;
    const nothing = (outcome: Outcome): Removal => ({
      orderId,
      lineNo,
      lineId: null,
      sku,
      ordered,
      removed: 0,
      outcome,
    });
    if (order.source === 'direct') return nothing('direct');
    const line = findLine(lines, order.userId, item);
    if (line === 'mismatch') return nothing('mismatch');
    const there = line === undefined ? 0 : (left.get(line.lineId) ?? line.quantity);
    if (line === undefined || there === 0) return nothing('absent');
    const removed = Math.min(ordered, there);
    left.set(line.lineId, there - removed);
    const outcome = removed < ordered ? 'partial' : 'removed';
    return { orderId, lineNo, lineId: line.lineId, sku, ordered, removed, outcome };
  });
  return { changes: Array.from(left, ([lineId, quantity]) => ({ lineId, quantity })), removals };
}

export const CURRENT_RULE: Rule = { version: RULE_VERSION, reduce: reduceCart };

function findLine(
  lines: readonly CartLine[],
  userId: string,
  item: OrderPlacedItem,
): CartLine | 'mismatch' | undefined {
  const fits = (line: CartLine) => line.userId === userId && line.sku === item.sku;
  if (item.cartLineId === null) return lines.find(fits);
  const named = lines.find(({ lineId }) => lineId === item.cartLineId);
  return named === undefined || fits(named) ? named : 'mismatch';
}
