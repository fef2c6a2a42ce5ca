// The growing result of an audit: counts, and the first few differences in words. Pure, and bounded: however many orders
// differ, it holds at most the limit. The caller classifies the orders that only the ledger has.
import { type AppliedOrder, compareOrder, type DifferenceKind, type PlacedOrder } from './order-facts.ts';

type OrderVerdict = 'agrees' | 'missing' | 'differs' | 'stray-removals' | 'unknown';

export interface AuditResult {
  readonly orders: number;
  readonly agreeing: number;
  /** Placed, and not in the ledger. */
  readonly missing: number;
  /** In the ledger, and not in the orders database. */
  readonly phantom: number;
  /** In the ledger, and of the order tables only in one that was replaced. */
  readonly replaced: number;
  /** In the ledger, and placed after the snapshot: not compared. */
  readonly newer: number;
  readonly differing: number;
  /** Orders by kind of difference; one order may be under several. */
  readonly kinds: ReadonlyMap<DifferenceKind, number>;
  /** Ids without a ledger entry that have removals. */
  readonly strayRemovals: number;
  /** `order id: how it differs`, at most as many as asked for. */
  readonly examples: readonly string[];
}

export interface Tally {
  /** Adds one pair of the join; `unknown`: report the order by {@link phantom}, {@link replaced} or {@link newer}. */
  add(placed: PlacedOrder | null, applied: AppliedOrder | null): OrderVerdict;
  phantom(orderId: string): void;
  replaced(orderId: string): void;
  newer(): void;
  result(): AuditResult;
}

/** `ruleVersion`: today's; see {@link compareOrder}. */
export function createTally(limit: number, ruleVersion: number): Tally {
  const count = {
    orders: 0,
    agreeing: 0,
    missing: 0,
    phantom: 0,
    replaced: 0,
    newer: 0,
    differing: 0,
    strayRemovals: 0,
  };
  const kinds = new Map<DifferenceKind, number>();
  const examples: string[] = [];
  const show = (orderId: string, words: string) => {
    if (examples.length < limit) examples.push(`${orderId}: ${words}`);
  };
  return {
    add(placed, applied) {
      if (placed !== null) count.orders += 1;
      const { orderId } = (placed ?? applied)!;
      const ledger = applied?.ledger ?? null;
      if (applied !== null && ledger === null) {
        count.strayRemovals += 1;
        show(orderId, 'has removals and is not in the ledger');
      }
      if (placed === null) return ledger === null ? 'stray-removals' : 'unknown';
      if (applied === null || ledger === null) {
        count.missing += 1;
        show(orderId, 'is not in the ledger');
        return 'missing';
      }
      const differences = compareOrder(placed, { ...applied, ledger }, ruleVersion);
      if (differences.length === 0) {
        count.agreeing += 1;
        return 'agrees';
      }
      count.differing += 1;
      for (const kind of new Set(differences.map((difference) => difference.kind))) {
        kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
      }
      show(orderId, differences.map(({ words }) => words).join('; '));
      return 'differs';
    },
    phantom(orderId) {
      count.phantom += 1;
      show(orderId, 'is in the ledger, but not in the orders database');
    },
    replaced(orderId) {
      count.replaced += 1;
      show(orderId, 'is in the ledger, but only in a replaced table');
    },
    newer() {
      count.newer += 1;
    },
    result: () => ({ ...count, kinds: new Map(kinds), examples: [...examples] }),
  };
}

/** Orders about which the two databases differ. */
export function countDifferences({ missing, phantom, replaced, differing, strayRemovals }: AuditResult): number {
  return missing + phantom + replaced + differing + strayRemovals;
}

/** Whether the two databases agree about every order. */
export function isClean(result: AuditResult): boolean {
  return countDifferences(result) === 0;
}
