/**
 * What an order takes out of a cart: the rule of the domain, and nothing else. Pure.
 *
 * Guarantees: takes at most what was ordered and what is there, never from another user's line, another SKU or, if the
 * item names its line, another line; returns for every item what it took. Subtraction is not idempotent, on purpose:
 * the ledger makes an order take effect once (I3), and applying an order twice must show.
 */
import type { OrderPlaced, OrderPlacedItem } from '#schemas/order-placed.ts';

/** Stored with every applied order. Raise it with every change of the rule: replays compare versions. */
export const RULE_VERSION = 1;

/** The largest quantity of a cart line. */
export const MOST_OF_A_LINE = 1_000_000;

export interface CartLine {
  readonly lineId: string;
  readonly userId: string;
  readonly sku: string;
  readonly quantity: number;
}

/**
 * removed: all that was ordered; partial: all that was there; absent: there is no such line, or none any more;
 * mismatch: the named line is another user's or of another SKU; direct: the order was not placed from the cart.
 */
type Outcome = 'removed' | 'partial' | 'absent' | 'mismatch' | 'direct';

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

interface LineChange {
  readonly lineId: string;
  /** What is left; 0 deletes the line. */
  readonly quantity: number;
}

export interface Reduction {
  /** One for each line that was reduced. */
  readonly changes: readonly LineChange[];
  /** One for each item, in the sequence of the items. */
  readonly removals: readonly Removal[];
}

/** A rule and its version. Tests and replays may use another than the current one. */
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
