/**
 * Recomputes orders that the ledger has, and applies those that are new to it: the I/O around reapply.ts. Part of a
 * batch's transaction.
 *
 * Guarantees (I3, I10): each order's history is read under a lock of its ledger row, by statements that began after the
 * lock was had; the same for its cart lines. A line that has to come back is claimed before its effect counts: where the
 * user has added the SKU meanwhile, the fold is done again with that line, now locked. Every such turn locks one line
 * more that can't vanish, so it ends.
 */
import type { Queryable, Transaction } from '@databases/pg';
import type { OrderPlaced } from '#schemas/order-placed.ts';
import { failpoint } from '#service/failpoint.ts';
import type { StoredLine } from '../rule/cart-state.ts';
import { type AppliedOrder, type Reapplied, reapplyOrders } from '../rule/reapply.ts';
import type { Rule } from '../rule/reduce-cart.ts';
import { claimCartLines } from '../sql/claim-cart-lines.ts';
import { deleteCartLines } from '../sql/delete-cart-lines.ts';
import { insertCartRemovals } from '../sql/insert-cart-removals.ts';
import { lockAppliedOrders } from '../sql/lock-applied-orders.ts';
import type { CartLineRow } from '../sql/lock-cart-lines.ts';
import type { AppliedOrderRow } from '../sql/read-applied-orders.ts';
import { type CartRemovalRow, readCartRemovals } from '../sql/read-cart-removals.ts';
import { reduceCartLines } from '../sql/reduce-cart-lines.ts';
import { setRuleVersions } from '../sql/set-rule-versions.ts';
import { lockLines, parseLine } from './lock-lines.ts';
import type { CartEffect } from './reduce-orders.ts';

/** `orders` in Kafka's sequence, all in the ledger; `isNew[i]`: entered by this transaction. */
export async function recomputeOrders(
  tx: Transaction,
  orders: readonly OrderPlaced[],
  isNew: readonly boolean[],
  rule: Rule,
): Promise<CartEffect> {
  const fresh = new Set(orders.filter((_, index) => isNew[index]).map(({ orderId }) => orderId));
  const known = [...new Set(orders.map(({ orderId }) => orderId))].filter((orderId) => !fresh.has(orderId));
  const ledger: AppliedOrderRow[] = known.length === 0 ? [] : await tx.query(lockAppliedOrders(known));
  const histories = await readHistories(tx, ledger);
  const lines = await lockLines(tx, orders);
  await failpoint('sink.mid-transaction');
  const inputs = orders.map((order) => ({ order, applied: histories.get(order.orderId) }));
  const { effects, removed, reduced } = await writeLines(tx, lines, (known) =>
    reapplyOrders(known, inputs, rule.reduce),
  );
  const entries = effects.flat();
  if (entries.length > 0) await tx.query(insertCartRemovals(entries));
  const first = entries.filter(({ entry }) => entry === 0);
  const changed = [...new Set(entries.filter(({ entry }) => entry > 0).map(({ orderId }) => orderId))];
  if (changed.length > 0) await tx.query(setRuleVersions(changed, rule.version));
  const mismatches = first.filter(({ outcome }) => outcome === 'mismatch').length;
  return { linesRemoved: removed, linesReduced: reduced, mismatches, changed: changed.length };
}

/** What the ledger holds of orders, with all their entries. */
export async function readHistories(
  tx: Queryable,
  ledger: readonly AppliedOrderRow[],
): Promise<ReadonlyMap<string, AppliedOrder>> {
  if (ledger.length === 0) return new Map();
  const rows: CartRemovalRow[] = await tx.query(readCartRemovals(ledger.map(({ order_id }) => order_id)));
  const removals = Map.groupBy(rows, ({ order_id }) => order_id);
  return new Map(
    ledger.map(({ order_id, applied_snapshot: snapshot }) => [
      order_id,
      { snapshot, removals: (removals.get(order_id) ?? []).map(parseRemoval) },
    ]),
  );
}

/** Folds until every line that comes back is ours, and writes the lines. */
async function writeLines(
  tx: Transaction,
  locked: readonly StoredLine[],
  fold: (lines: readonly StoredLine[]) => Reapplied,
) {
  let known = locked;
  /** What the database holds by now. */
  const stored = new Map(locked.map((line) => [line.lineId, line.quantity]));
  for (;;) {
    const { effects, lines } = fold(known);
    const emptied = lines.filter(({ lineId, quantity }) => quantity === 0 && stored.delete(lineId));
    if (emptied.length > 0) await tx.query(deleteCartLines(emptied.map(({ lineId }) => lineId)));
    const back = lines.filter(({ lineId, quantity }) => quantity > 0 && !stored.has(lineId));
    const rows: CartLineRow[] = back.length === 0 ? [] : await tx.query(claimCartLines(back));
    const wanted = new Set(back.map(({ lineId }) => lineId));
    const claimed = rows.filter(({ line_id }) => wanted.has(line_id));
    if (claimed.length < rows.length) {
      const others = rows.filter(({ line_id }) => !wanted.has(line_id)).map(parseLine);
      known = [...known, ...others];
      for (const { lineId, quantity } of others) stored.set(lineId, quantity);
      if (claimed.length > 0) await tx.query(deleteCartLines(claimed.map(({ line_id }) => line_id)));
      continue;
    }
    for (const row of claimed) stored.set(row.line_id, row.quantity);
    const reduced = lines.filter(({ lineId, quantity }) => quantity > 0 && stored.get(lineId) !== quantity);
    if (reduced.length > 0) await tx.query(reduceCartLines(reduced));
    return { effects, removed: emptied.length, reduced: reduced.length };
  }
}

function parseRemoval(row: CartRemovalRow): AppliedOrder['removals'][number] {
  return {
    lineNo: row.line_no,
    entry: row.entry,
    lineId: row.line_id,
    lineCreatedXid: row.line_created_xid,
    removed: row.removed,
  };
}
