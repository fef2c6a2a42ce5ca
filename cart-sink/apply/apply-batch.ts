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
import { CommitOutcomeUnknownError, GenerationChangedError, PositionWentBackError } from '../errors.ts';
import type { ReplayStamp } from '../replay-records.ts';
import { CURRENT_RULE, type Rule } from '../rule/reduce-cart.ts';
import { addReplayResults } from '../sql/add-replay-results.ts';
import { advanceOffset, type OffsetBefore } from '../sql/advance-offset.ts';
import { insertAppliedOrders } from '../sql/insert-applied-orders.ts';
import { insertParkedEvents } from '../sql/insert-parked-events.ts';
import type { AppliedCounts } from './apply-reliably.ts';
import type { Batch, SinkEntry } from './batch.ts';
import { recomputeOrders } from './change-carts.ts';
import { type AppliedPosition, findFurthest, judgePositions } from './positions.ts';
import { type CartEffect, reduceOrders } from './reduce-orders.ts';

export type BatchResult =
  | ({ readonly kind: 'applied' } & AppliedCounts & CartEffect)
  /** The partition has another owner, or stands elsewhere: nothing was changed. */
  | { readonly kind: 'stale-owner' };

type Applied = Extract<BatchResult, { kind: 'applied' }>;

/** Thrown inside the transaction, so that it is rolled back, and caught right outside of it. */
class NotOwner extends Error {}

/**
 * Applies `batch` under `rule`. What it throws is rolled back, {@link CommitOutcomeUnknownError} excepted.
 * @throws PositionWentBackError, GenerationChangedError: the sink must halt
 * @throws CommitOutcomeUnknownError: it may or may not be applied; read the settled offset
 * @throws the database's error otherwise
 */
export async function applyBatch(database: Database, batch: Batch, rule: Rule = CURRENT_RULE): Promise<BatchResult> {
  let committing = false;
  let applied: Applied;
  try {
    applied = await database.pool.tx(
      async (tx) => {
        const result = await applyInTransaction(tx, batch, rule);
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

async function applyInTransaction(tx: Transaction, batch: Batch, rule: Rule): Promise<Applied> {
  const orders = batch.entries.filter(isOrder).map(({ event }) => event);
  const parked = batch.entries.filter(isUnreadable);

  const before = await moveOffset(tx, batch, orders);
  const isNew = await enterLedger(tx, orders, rule);
  if (batch.replay === null) requireContinuity(batch, before, orders, isNew);
  const newOrders = orders.filter((_, index) => isNew[index]);
  const effect =
    batch.replay?.mode === 'reapply'
      ? await recomputeOrders(tx, orders, isNew, rule)
      : await reduceOrders(tx, newOrders, rule);
  if (parked.length > 0) await tx.query(insertParkedEvents(batch, parked));
  const duplicates = orders.length - newOrders.length - effect.changed;
  const counts = { orders: newOrders.length, duplicates, parked: parked.length };
  if (batch.replay !== null && batch.entries.length > 0) {
    await recordReplay(tx, batch, batch.replay, { ...counts, changed: effect.changed });
  }
  await failpoint('sink.before-commit');
  return { kind: 'applied', ...counts, ...effect };
}

/** Adds the batch to what its run has done in this partition: the proof is as exactly-once as the effect. */
async function recordReplay(
  tx: Transaction,
  { consumerGroup, partition, entries, tally }: Batch,
  { runId }: ReplayStamp,
  { orders: applied, duplicates: already, changed, parked }: AppliedCounts,
): Promise<void> {
  const end = entries.findLast((entry) => entry.kind === 'replay-end')?.tally;
  const counts = { applied, already, changed, parked };
  await tx.query(addReplayResults({ runId, consumerGroup, partition }, counts, tally, end));
}

/** Proves that the partition is ours and stands where the batch begins. Returns what was applied from it before. */
async function moveOffset(tx: Transaction, batch: Batch, orders: readonly OrderPlaced[]): Promise<AppliedPosition> {
  const furthest = batch.replay === null ? findFurthest(orders) : undefined;
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
async function enterLedger(
  tx: Transaction,
  orders: readonly OrderPlaced[],
  { version }: Rule,
): Promise<readonly boolean[]> {
  if (orders.length === 0) return [];
  const distinct = new Map<string, OrderPlaced>();
  for (const order of orders) if (!distinct.has(order.orderId)) distinct.set(order.orderId, order);
  const entered: { order_id: string }[] = await tx.query(insertAppliedOrders(version, [...distinct.values()]));
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

function isOrder(entry: SinkEntry): entry is Extract<SinkEntry, { kind: 'order' }> {
  return entry.kind === 'order';
}

function isUnreadable(entry: SinkEntry): entry is Extract<SinkEntry, { kind: 'unreadable' }> {
  return entry.kind === 'unreadable';
}
