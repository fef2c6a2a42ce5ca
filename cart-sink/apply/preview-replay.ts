/**
 * Computes what a replay would change in the carts, for the dry run of the replay tool.
 *
 * Applies the same rule as a batch, to lines that are read without locks; the next order sees what the one before would
 * change, across calls too. Guarantees that nothing is written or locked. Leaves to the caller: a transaction with one
 * snapshot (REPEATABLE READ). It keeps every cart line and order that it has met in memory.
 */
import type { Queryable } from '@databases/pg';
import type { OrderPlaced } from '#schemas/order-placed.ts';
import type { ReplayMode } from '#schemas/replay/records.ts';
import { formatCartKey, type RemovalEntry, type StoredLine } from '../rule/cart-state.ts';
import { reapplyOrders } from '../rule/reapply.ts';
import { CURRENT_RULE, type Rule } from '../rule/reduce-cart.ts';
import { type AppliedOrderRow, readAppliedOrders } from '../sql/applied-orders.ts';
import { readLiveLines } from '../sql/cart-lines.ts';
import { listWantedLines, readNamedLines } from './change-carts.ts';
import { readHistories } from './recompute-carts.ts';

interface LinePreview {
  readonly lineId: string | null;
  readonly sku: string;
  /** Negative: taken out of the cart; positive: given back. Never 0. */
  readonly quantity: number;
}

export interface OrderPreview {
  readonly orderId: string;
  readonly userId: string;
  /** The ledger does not have it. */
  readonly isNew: boolean;
  /** By line. Empty for an order that changes nothing. */
  readonly changes: readonly LinePreview[];
}

export interface ReplayPreview {
  /** One preview for each event, in the sequence in which they would be replayed. */
  add(events: readonly OrderPlaced[]): Promise<readonly OrderPreview[]>;
}

/** `tx` should be REPEATABLE READ READ ONLY. `rule` is the current one. */
export function createReplayPreview(tx: Queryable, mode: ReplayMode, rule: Rule = CURRENT_RULE): ReplayPreview {
  /** Live lines after the orders so far, by user and SKU; null: none. */
  const carts = new Map<string, StoredLine | null>();
  const seen = new Set<string>();

  const readLines = async (orders: readonly OrderPlaced[]): Promise<readonly StoredLine[]> => {
    const all = listWantedLines(orders);
    const { userIds, skus } = all.wanted;
    const keys = new Set(skus.map((sku, index) => formatCartKey(userIds[index]!, sku)));
    const unread = keys.difference(carts);
    if (unread.size > 0) {
      const rows: StoredLine[] = await tx.query(readLiveLines(all.wanted));
      for (const key of unread) carts.set(key, null);
      // What was read before stays as the orders so far have left it.
      for (const line of rows) {
        const key = formatCartKey(line.userId, line.sku);
        if (unread.has(key)) carts.set(key, line);
      }
    }
    const lines = [...keys].map((key) => carts.get(key) ?? null).filter((line) => line !== null);
    const named = await readNamedLines(tx, all, lines);
    // An order so far may have removed or changed the line: the overlay has its present state.
    const elsewhere = named.map((line) => {
      const overlay = carts.get(formatCartKey(line.userId, line.sku));
      return overlay === undefined || overlay?.lineId === line.lineId ? (overlay ?? line) : null;
    });
    return [...lines, ...elsewhere.filter((line) => line !== null)];
  };

  return {
    add: async (events) => {
      const ledger: AppliedOrderRow[] =
        events.length === 0 ? [] : await tx.query(readAppliedOrders(events.map(({ orderId }) => orderId)));
      const known = new Set(ledger.map(({ orderId }) => orderId));
      const isFirst = events.map(({ orderId }) => !seen.has(orderId) && seen.add(orderId) !== undefined);
      const isNew = events.map(({ orderId }, index) => isFirst[index]! && !known.has(orderId));
      const isFolded = events.map((_, index) => isNew[index]! || (mode === 'reapply' && isFirst[index]!));
      const orders = events.filter((_, index) => isFolded[index]);
      const histories = mode === 'reapply' ? await readHistories(tx, ledger) : new Map<string, never>();
      const lines = await readLines(orders);
      const inputs = orders.map((order) => ({ order, applied: histories.get(order.orderId) }));
      const { entries, lines: changed } = reapplyOrders(lines, inputs, rule.reduce);
      // A removed line before one that replaces it.
      for (const line of changed.toSorted((a, b) => Math.sign(a.quantity) - Math.sign(b.quantity))) {
        const key = formatCartKey(line.userId, line.sku);
        if (line.quantity > 0) carts.set(key, line);
        else if (carts.get(key)?.lineId === line.lineId) carts.set(key, null);
      }
      const effectOf = new Map(orders.map(({ orderId }, index) => [orderId, entries[index]!]));
      return events.map(({ orderId, userId }, index) => ({
        orderId,
        userId,
        isNew: isNew[index]!,
        changes: isFolded[index] ? sumByLine(effectOf.get(orderId)!) : [],
      }));
    },
  };
}

function sumByLine(entries: readonly RemovalEntry[]): readonly LinePreview[] {
  return [...Map.groupBy(entries, ({ lineId, sku }) => `${lineId}\n${sku}`).values()].flatMap((rows) => {
    const [{ lineId, sku }] = rows as [RemovalEntry];
    const quantity = -rows.reduce((sum, { removed }) => sum + removed, 0);
    return quantity === 0 ? [] : [{ lineId, sku, quantity }];
  });
}

/** Those of `orderIds` that the ledger does not have. */
export async function readUnknownOrders(carts: Queryable, orderIds: readonly string[]): Promise<Set<string>> {
  if (orderIds.length === 0) return new Set();
  const rows: AppliedOrderRow[] = await carts.query(readAppliedOrders(orderIds));
  const known = new Set(rows.map(({ orderId }) => orderId));
  return new Set(orderIds.filter((orderId) => !known.has(orderId)));
}
