/**
 * Applies one batch of a partition to the carts database, exactly once: the heart of the sink.
 *
 * Guarantees (I1, I3, I6): in one transaction the offset moves, the ledger learns the orders, the carts shrink and the
 * removals are recorded, or nothing happens; a stale owner changes nothing. The stages are separate statements in a
 * fixed order, each with a snapshot of its own: one clever statement would read and write by a snapshot older than the
 * locks it waited for. Locks are taken in one order everywhere (offset, order ids, line ids), so sinks don't deadlock.
 * Leaves to the caller: retrying, and finding out what became of a COMMIT without an answer.
 */
import { IsolationLevel, type Transaction } from '@databases/pg';
import { formatLsn, parseLsn } from '#schemas/lsn.ts';
import type { OrderPlaced } from '#schemas/order-placed.ts';
import type { Database } from '#service/database.ts';
import { failpoint } from '#service/failpoint.ts';
import type { Batch, SinkEntry } from './batch.ts';
import { CommitOutcomeUnknownError, GenerationChangedError, PositionWentBackError } from './errors.ts';
import { type AppliedPosition, findFurthest, judgePositions } from './position-continuity.ts';
import { type BatchReduction, formatCartKey, reduceBatch } from './reduce-batch.ts';
import { type CartLine, RULE_VERSION } from './reduce-cart.ts';
import { advanceOffset, type OffsetBefore } from './sql/advance-offset.ts';
import { deleteCartLines } from './sql/delete-cart-lines.ts';
import { insertAppliedOrders } from './sql/insert-applied-orders.ts';
import { insertCartRemovals } from './sql/insert-cart-removals.ts';
import { insertParkedEvents } from './sql/insert-parked-events.ts';
import { type CartLineRow, lockCartLines } from './sql/lock-cart-lines.ts';
import { readCartLines } from './sql/read-cart-lines.ts';
import { reduceCartLines } from './sql/reduce-cart-lines.ts';

export type BatchResult =
  | {
      readonly kind: 'applied';
      /** Orders that were new to the ledger. */
      readonly orders: number;
      /** Orders that the ledger had already, or that the batch held twice. */
      readonly duplicates: number;
      readonly parked: number;
      readonly linesRemoved: number;
      readonly linesReduced: number;
      /** Items that named a line of another user or SKU. */
      readonly mismatches: number;
    }
  /** The partition has another owner, or stands elsewhere: nothing was changed. */
  | { readonly kind: 'stale-owner' };

type Applied = Extract<BatchResult, { kind: 'applied' }>;

/** Thrown inside the transaction, so that it is rolled back, and caught right outside of it. */
class NotOwner extends Error {}

/**
 * Applies `batch`. What it throws is rolled back, {@link CommitOutcomeUnknownError} excepted.
 * @throws PositionWentBackError, GenerationChangedError: the sink must halt
 * @throws CommitOutcomeUnknownError: it may or may not be applied; read the settled offset
 * @throws the database's error otherwise
 */
export async function applyBatch(database: Database, batch: Batch): Promise<BatchResult> {
  let committing = false;
  let applied: Applied;
  try {
    applied = await database.pool.tx(
      async (tx) => {
        const result = await applyInTransaction(tx, batch);
        committing = true;
        return result;
      },
      { isolationLevel: IsolationLevel.READ_COMMITTED },
    );
  } catch (error) {
    if (error instanceof NotOwner) return { kind: 'stale-owner' };
    throw committing ? new CommitOutcomeUnknownError(batch, error) : error;
  }
  await failpoint('sink.after-commit');
  return applied;
}

async function applyInTransaction(tx: Transaction, batch: Batch): Promise<Applied> {
  const orders = batch.entries.filter(isOrder).map(({ event }) => event);
  const parked = batch.entries.filter(isUnreadable);

  const before = await moveOffset(tx, batch, orders);
  const isNew = await enterLedger(tx, orders);
  if (batch.live) requireContinuity(batch, before, orders, isNew);
  const newOrders = orders.filter((_, index) => isNew[index]);
  // Here a replay that recomputes effects will lock the ledger rows of the orders it repeats.
  const lines = await lockLines(tx, newOrders);
  await failpoint('sink.mid-transaction');
  const reduction = reduceBatch(lines, newOrders);
  await writeReduction(tx, reduction);
  if (parked.length > 0) await tx.query(insertParkedEvents(batch, parked));
  await failpoint('sink.before-commit');

  return {
    kind: 'applied',
    orders: newOrders.length,
    duplicates: orders.length - newOrders.length,
    parked: parked.length,
    linesRemoved: reduction.emptied.length,
    linesReduced: reduction.reduced.length,
    mismatches: reduction.removals.filter(({ outcome }) => outcome === 'mismatch').length,
  };
}

/** Proves that the partition is ours and stands where the batch begins. Returns what was applied from it before. */
async function moveOffset(tx: Transaction, batch: Batch, orders: readonly OrderPlaced[]): Promise<AppliedPosition> {
  const furthest = batch.live ? findFurthest(orders) : undefined;
  const [before]: OffsetBefore[] = await tx.query(
    advanceOffset({
      ...batch,
      timeline: furthest?.timeline ?? null,
      commitLsn: furthest === undefined ? null : formatLsn(furthest.commitLsn),
      ordinal: furthest?.ordinal ?? null,
      generation: furthest?.generation ?? null,
    }),
  );
  if (before === undefined) throw new NotOwner();
  const { last_timeline: timeline, last_commit_lsn: commitLsn, last_ordinal: ordinal, generation } = before;
  const known = timeline !== null && commitLsn !== null && ordinal !== null;
  return { position: known ? { timeline, commitLsn: parseLsn(commitLsn), ordinal } : null, generation };
}

/** Tells for each order whether the ledger learnt it just now. Of two with one id, the first may be new. */
async function enterLedger(tx: Transaction, orders: readonly OrderPlaced[]): Promise<readonly boolean[]> {
  if (orders.length === 0) return [];
  const distinct = new Map<string, OrderPlaced>();
  for (const order of orders) if (!distinct.has(order.orderId)) distinct.set(order.orderId, order);
  const entered: { order_id: string }[] = await tx.query(insertAppliedOrders(RULE_VERSION, [...distinct.values()]));
  const fresh = new Set(entered.map(({ order_id }) => order_id));
  const isNew = orders.map(({ orderId }) => fresh.delete(orderId));
  // An id in another spelling than the database's would pass for a duplicate, and its order would be lost.
  if (fresh.size > 0) throw new Error(`${fresh.size} order ids are not in the form that the carts database returns`);
  return isNew;
}

function requireContinuity(
  batch: Batch,
  before: AppliedPosition,
  orders: readonly OrderPlaced[],
  isNew: readonly boolean[],
): void {
  const verdict = judgePositions(before, orders, isNew);
  if (verdict.kind === 'went-back') throw new PositionWentBackError(batch, verdict);
  if (verdict.kind === 'generation-changed') throw new GenerationChangedError(batch, verdict);
}

/** The live lines that the orders may reduce, locked, and those that they name in vain, only read. */
async function lockLines(tx: Transaction, orders: readonly OrderPlaced[]): Promise<readonly CartLine[]> {
  const wanted = new Map<string, { userId: string; sku: string }>();
  const named = new Set<string>();
  for (const { userId, source, items } of orders) {
    if (source === 'direct') continue;
    for (const { sku, cartLineId } of items) {
      wanted.set(formatCartKey({ userId, sku }), { userId, sku });
      if (cartLineId !== null) named.add(cartLineId);
    }
  }
  if (wanted.size === 0) return [];
  const locked: CartLineRow[] = await tx.query(lockCartLines([...wanted.values()]));
  const lines = locked.map(parseLine);
  for (const { lineId } of lines) named.delete(lineId);
  if (named.size === 0) return lines;
  // A named line that fits its order is among the locked. The others only tell a mismatch from a line that is gone, so
  // no lock is needed. One of a wanted user and SKU has appeared since, and must not be reduced without a lock.
  const others: CartLineRow[] = await tx.query(readCartLines([...named]));
  return [...lines, ...others.map(parseLine).filter((line) => !wanted.has(formatCartKey(line)))];
}

async function writeReduction(tx: Transaction, { reduced, emptied, removals }: BatchReduction): Promise<void> {
  if (reduced.length > 0) await tx.query(reduceCartLines(reduced));
  if (emptied.length > 0) await tx.query(deleteCartLines(emptied));
  if (removals.length > 0) await tx.query(insertCartRemovals(removals));
}

function isOrder(entry: SinkEntry): entry is Extract<SinkEntry, { kind: 'order' }> {
  return entry.kind === 'order';
}

function isUnreadable(entry: SinkEntry): entry is Extract<SinkEntry, { kind: 'unreadable' }> {
  return entry.kind === 'unreadable';
}

function parseLine(row: CartLineRow): CartLine {
  return { lineId: row.line_id, userId: row.user_id, sku: row.sku, quantity: row.quantity };
}
