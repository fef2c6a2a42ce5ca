// Compares one order: what the orders database holds against what the carts database recorded for it. Pure. Guarantees: every
// difference is named with the line it concerns; messages hold nothing but ids, line numbers, SKUs and quantities. What is
// left in carts is not compared: users edit them.

interface OrderItem {
  readonly lineNo: number;
  readonly sku: string;
  readonly quantity: number;
}

/** An order as the orders database has it; items by line. */
export interface PlacedOrder {
  readonly orderId: string;
  readonly userId: string;
  readonly source: string;
  readonly items: readonly OrderItem[];
}

interface RemovalEntry {
  readonly lineNo: number;
  /** 0 is the first application; reapplied differences follow. */
  readonly entry: number;
  readonly sku: string;
  readonly ordered: number;
  readonly removed: number;
}

export interface LedgerLine {
  readonly userId: string;
  readonly source: string;
  /** Of the rule that its effect was last computed by. */
  readonly ruleVersion: number;
}

/** What the carts database has of an order; `ledger` is null if there are only removals. */
export interface AppliedOrder {
  readonly orderId: string;
  readonly ledger: LedgerLine | null;
  /** By line and entry. */
  readonly removals: readonly RemovalEntry[];
}

export type DifferenceKind =
  | 'user'
  | 'source'
  | 'item-without-removal'
  | 'removal-without-item'
  | 'sku'
  | 'ordered'
  | 'direct-removed'
  | 'removed-out-of-range';

export interface Difference {
  readonly kind: DifferenceKind;
  readonly words: string;
}

/**
 * All differences of an order that both databases have; empty if they agree. The ordered quantity of an entry is compared
 * only if the rule of `ruleVersion` wrote it: an earlier, wrong rule may have read it wrongly, and reapplying corrects the
 * effect by further entries, not the record.
 */
export function compareOrder(
  order: PlacedOrder,
  applied: AppliedOrder & { readonly ledger: LedgerLine },
  ruleVersion: number,
): Difference[] {
  const differences: Difference[] = [];
  const note = (kind: DifferenceKind, words: string) => differences.push({ kind, words });
  if (applied.ledger.userId !== order.userId) note('user', 'the ledger has another user');
  if (applied.ledger.source !== order.source) {
    note('source', `placed as ${order.source}, in the ledger as ${applied.ledger.source}`);
  }
  const isReapplied = applied.removals.some(({ entry }) => entry > 0);
  const isFirstCompared = applied.ledger.ruleVersion === ruleVersion && !isReapplied;
  const byLine = Map.groupBy(applied.removals, ({ lineNo }) => lineNo);
  for (const { lineNo, sku, quantity } of order.items) {
    const entries = byLine.get(lineNo) ?? [];
    byLine.delete(lineNo);
    const at = `line ${lineNo}`;
    if (entries[0]?.entry !== 0) {
      note('item-without-removal', `${at} (${quantity} of ${sku}) has no removal entry`);
      continue;
    }
    const last = entries.at(-1)!;
    if (last.entry > 0 || isFirstCompared) {
      if (last.sku !== sku) note('sku', `${at} ordered ${sku}, was applied as ${last.sku}`);
      if (last.ordered !== quantity)
        note('ordered', `${at} (${sku}) ordered ${quantity}, was applied as ${last.ordered}`);
    }
    const removed = entries.reduce((sum, entry) => sum + entry.removed, 0);
    if (order.source === 'direct' && removed !== 0) {
      note('direct-removed', `${at} (${sku}) of a direct order removed ${removed}`);
    } else if (removed < 0 || removed > quantity) {
      note('removed-out-of-range', `${at} (${sku}) ordered ${quantity} and removed ${removed}`);
    }
  }
  for (const [lineNo, entries] of byLine) {
    note('removal-without-item', `line ${lineNo} (${entries[0]!.sku}) was applied and is not in the order`);
  }
  return differences;
}
