/**
 * Applies one batch of a partition to the carts database in one transaction: the heart of the sink.
 *
 * Guarantees (I1, I3, I6): the offset moves, the ledger gains the orders, the carts shrink and the removals are
 * recorded, all or nothing; a fenced owner changes nothing. The statements are separate and in a fixed order, each with
 * a snapshot of its own, though sent together: one combined statement would read by a snapshot older than the locks it
 * waited for. Locks are taken in one order everywhere (offset, order ids, line ids), so sinks don't deadlock. Leaves to
 * retry.ts: a COMMIT without an answer.
 */
import { formatLsn, parseLsn } from '#schemas/lsn.ts';
import type { OrderPlaced } from '#schemas/order-placed.ts';
import type { ReplayStamp, ReplayTally } from '#schemas/replay/records.ts';
import type { Database } from '#service/database.ts';
import { failpoint } from '#service/failpoint.ts';
import { CommitUnansweredError, type Statements } from '#service/postgres/pipelined-transaction.ts';
import { CommitOutcomeUnknownError, GenerationChangedError, PositionWentBackError } from '../errors.ts';
import { CURRENT_RULE, type Rule } from '../rule/reduce-cart.ts';
import { insertAppliedOrders } from '../sql/applied-orders.ts';
import { advanceOffset, type OffsetBeforeRow } from '../sql/consumer-offsets.ts';
import { insertParkedEvents } from '../sql/parked-events.ts';
import { addReplayResults } from '../sql/replay-runs.ts';
import { lockLiveLines, reduceCarts } from './change-carts.ts';
import { type AppliedPosition, checkPositions, findFurthest } from './positions.ts';
import { recomputeCarts } from './recompute-carts.ts';

/** A consumed record that has an effect. */
export type BatchEntry =
  | { readonly kind: 'order'; readonly offset: bigint; readonly event: OrderPlaced }
  | {
      readonly kind: 'unreadable';
      readonly offset: bigint;
      readonly key: Buffer | null;
      readonly value: Buffer | null;
      readonly reason: string;
    }
  /** A replay run ends in this partition; `tally` is what it says was published there. */
  | { readonly kind: 'replay-end'; readonly offset: bigint; readonly tally: ReplayTally };

/** Consecutive records of one partition. Offsets may have gaps: control and aborted records take offsets too. */
export interface Batch {
  readonly consumerGroup: string;
  readonly topic: string;
  readonly partition: number;
  /** The fencing token from taking the partition over; another one in the database means another owner. */
  readonly ownerEpoch: bigint;
  /** The next offset that the database must hold before this batch. */
  readonly expectedOffset: bigint;
  /** The next offset after it: past the last record consumed, control and aborted records included. */
  readonly nextOffset: bigint;
  /** Empty if only control, aborted or progress records were consumed. */
  readonly entries: readonly BatchEntry[];
  /** The run of all entries; null in the live topic, and for records of the replay topic that belong to no run. */
  readonly replay: ReplayStamp | null;
  /** Of the run's orders among the consumed records, unreadable ones included. */
  readonly tally: ReplayTally;
}

/** What one transaction did, in records. */
export interface AppliedCounts {
  /** Orders that were new to the ledger. */
  readonly orders: number;
  /** Orders that the ledger had, and whose effect stayed. */
  readonly duplicates: number;
  /** Orders that the ledger had, and whose effect a replay has changed. */
  readonly changed: number;
  readonly parked: number;
}

export type BatchResult =
  | ({ readonly kind: 'applied' } & AppliedCounts)
  /** Fenced: the partition has another owner, or its offset is another. Nothing was changed. */
  | { readonly kind: 'stale-owner' };

/** Thrown inside the transaction to roll it back, and caught right outside of it. */
class FencedError extends Error {}

/**
 * Applies `batch` under `rule`. Whatever this throws was rolled back, except {@link CommitOutcomeUnknownError}.
 * @throws PositionWentBackError, GenerationChangedError: the sink must halt
 * @throws CommitOutcomeUnknownError: the batch may or may not be applied; read the stored offset
 * @throws the database's error otherwise
 */
export async function applyBatch(database: Database, batch: Batch, rule: Rule = CURRENT_RULE): Promise<BatchResult> {
  let counts: AppliedCounts;
  try {
    counts = await database.transaction((tx) => applyInTransaction(tx, batch, rule));
  } catch (error) {
    if (error instanceof FencedError) return { kind: 'stale-owner' };
    throw error instanceof CommitUnansweredError ? new CommitOutcomeUnknownError(batch, error.cause) : error;
  }
  await failpoint('sink.after-commit');
  return { kind: 'applied', ...counts };
}

async function applyInTransaction(tx: Statements, batch: Batch, rule: Rule): Promise<AppliedCounts> {
  const orders = batch.entries.filter((entry) => entry.kind === 'order').map(({ event }) => event);
  const parked = batch.entries.filter((entry) => entry.kind === 'unreadable');
  const isReapply = batch.replay?.mode === 'reapply';

  // Sent together, in the order of the locks. A fenced owner takes them all, until its rollback.
  const [before, isNew, lines] = await Promise.all([
    moveOffset(tx, batch, orders),
    insertIntoLedger(tx, orders, rule),
    isReapply ? [] : lockLiveLines(tx, orders),
  ]);
  const check = batch.replay === null ? checkPositions(before, orders, isNew) : undefined;
  if (check?.kind === 'went-back') throw new PositionWentBackError(batch, check);
  if (check?.kind === 'generation-changed') throw new GenerationChangedError(batch, check);
  const newOrders = orders.filter((_, index) => isNew[index]);
  let changed = 0;
  if (isReapply) changed = await recomputeCarts(tx, orders, isNew, rule);
  else await reduceCarts(tx, newOrders, lines, rule);
  if (parked.length > 0) await tx.query(insertParkedEvents(batch, parked));
  const duplicates = orders.length - newOrders.length - changed;
  const counts = { orders: newOrders.length, duplicates, changed, parked: parked.length };
  if (batch.replay !== null && batch.entries.length > 0) await recordReplay(tx, batch, batch.replay, counts);
  await failpoint('sink.before-commit');
  return counts;
}

/** Proves that the partition is ours and stands where the batch begins. Returns the position applied before. */
async function moveOffset(tx: Statements, batch: Batch, orders: readonly OrderPlaced[]): Promise<AppliedPosition> {
  const furthest = batch.replay === null ? findFurthest(orders) : undefined;
  const [before]: OffsetBeforeRow[] = await tx.query(
    advanceOffset({
      ...batch,
      timeline: furthest?.timeline ?? null,
      commitLsn: furthest === undefined ? null : formatLsn(furthest.commitLsn),
      ordinal: furthest?.ordinal ?? null,
      generation: furthest?.generation ?? null,
    }),
  );
  if (before === undefined) throw new FencedError();
  const { timeline, commitLsn, ordinal, generation } = before;
  const known = timeline !== null && commitLsn !== null && ordinal !== null;
  return { position: known ? { timeline, commitLsn: parseLsn(commitLsn), ordinal } : null, generation };
}

/** Returns for each order whether it is new to the ledger. Of two with the same id, only the first may be new. */
export async function insertIntoLedger(
  tx: Statements,
  orders: readonly OrderPlaced[],
  { version }: Rule,
): Promise<readonly boolean[]> {
  if (orders.length === 0) return [];
  const distinct = new Map<string, OrderPlaced>();
  for (const order of orders) if (!distinct.has(order.orderId)) distinct.set(order.orderId, order);
  const inserted: { orderId: string }[] = await tx.query(insertAppliedOrders(version, [...distinct.values()]));
  const fresh = new Set(inserted.map(({ orderId }) => orderId));
  const isNew = orders.map(({ orderId }) => fresh.delete(orderId));
  // An id spelled otherwise than the database returns it would pass for a duplicate, and its order would be lost.
  if (fresh.size > 0) throw new Error(`${fresh.size} order ids are not in the form that the carts database returns`);
  return isNew;
}

/** Adds the batch to the results of its run: the run's proof is as exactly-once as its effect. */
async function recordReplay(
  tx: Statements,
  { consumerGroup, partition, entries, tally }: Batch,
  { runId }: ReplayStamp,
  { orders: applied, duplicates: already, changed, parked }: AppliedCounts,
): Promise<void> {
  const end = entries.findLast((entry) => entry.kind === 'replay-end')?.tally;
  const counts = { applied, already, changed, parked };
  await tx.query(addReplayResults({ runId, consumerGroup, partition }, counts, tally, end));
}
