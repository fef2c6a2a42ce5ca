/**
 * Recomputes orders that were applied before, for a replay run in mode reapply. Part of the batch's transaction.
 *
 * Guarantees (I3, I10): the history of an order is read under a lock of its ledger row, by statements that began after
 * the lock was granted. Leaves to rule/reapply.ts: the difference; to change-carts.ts: the cart lines.
 */
import type { OrderPlaced } from '#schemas/order-placed.ts';
import { failpoint } from '#service/failpoint.ts';
import type { Statements } from '#service/postgres/pipelined-transaction.ts';
import { type AppliedOrder, reapplyOrders } from '../rule/reapply.ts';
import type { Rule } from '../rule/reduce-cart.ts';
import { type AppliedOrderRow, lockAppliedOrders, setRuleVersions } from '../sql/applied-orders.ts';
import { type CartRemovalRow, readCartRemovals } from '../sql/cart-removals.ts';
import { lockLines, writeEffects } from './change-carts.ts';

/**
 * Applies those of `orders` that are new (`isNew[i]`: inserted by this transaction) and recomputes the others, in the
 * sequence of Kafka. Returns the orders that had their effect changed after they had been applied.
 */
export async function recomputeCarts(
  tx: Statements,
  orders: readonly OrderPlaced[],
  isNew: readonly boolean[],
  rule: Rule,
): Promise<ReadonlySet<string>> {
  const fresh = new Set(orders.filter((_, index) => isNew[index]).map(({ orderId }) => orderId));
  const known = [...new Set(orders.map(({ orderId }) => orderId))].filter((orderId) => !fresh.has(orderId));
  const ledger: AppliedOrderRow[] = known.length === 0 ? [] : await tx.query(lockAppliedOrders(known));
  const histories = await readHistories(tx, ledger);
  const lines = await lockLines(tx, orders);
  await failpoint('sink.mid-transaction');
  const inputs = orders.map((order) => ({ order, applied: histories.get(order.orderId) }));
  const entries = await writeEffects(tx, lines, (current) => reapplyOrders(current, inputs, rule.reduce));
  const changed = new Set(entries.filter(({ entry }) => entry > 0).map(({ orderId }) => orderId));
  if (changed.size > 0) tx.send(setRuleVersions([...changed], rule.version));
  return changed;
}

/** What the database holds of applied orders, with all their entries. */
export async function readHistories(
  tx: Pick<Statements, 'query'>,
  ledger: readonly AppliedOrderRow[],
): Promise<ReadonlyMap<string, AppliedOrder>> {
  if (ledger.length === 0) return new Map();
  const rows: CartRemovalRow[] = await tx.query(readCartRemovals(ledger.map(({ orderId }) => orderId)));
  const removals = Map.groupBy(rows, ({ orderId }) => orderId);
  return new Map(ledger.map(({ orderId, snapshot }) => [orderId, { snapshot, removals: removals.get(orderId) ?? [] }]));
}
