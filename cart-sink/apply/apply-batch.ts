/**
 * Applies batches of several partitions of one topic to the carts database in one transaction: the heart of the sink.
 *
 * Guarantees (I1, I3, I6): the offsets move, the ledger gains the orders, the carts shrink and the removals are
 * recorded, all or nothing; with one fenced owner among them nothing changes. The statements are separate and in a fixed
 * order, each with a snapshot of its own, though sent together: one combined statement would read by a snapshot older than
 * the locks it waited for. Locks are taken in one order everywhere (offsets by partition, order ids, line ids), so sinks don't
 * deadlock. Leaves to retry.ts: a failure, and a COMMIT without an answer.
 */
import type { OrderPlaced } from '#schemas/order-placed.ts';
import type { ReplayStamp } from '#schemas/replay/records.ts';
import type { Database } from '#service/database.ts';
import { failpoint } from '#service/failpoint.ts';
import { CommitUnansweredError, type Statements } from '#service/postgres/pipelined-transaction.ts';
import { CommitOutcomeUnknownError, GenerationChangedError, PositionWentBackError } from '../errors.ts';
import { CURRENT_RULE, type Rule } from '../rule/reduce-cart.ts';
import { type InsertedOrdersRow, insertAppliedOrders } from '../sql/applied-orders.ts';
import { insertParkedEvents } from '../sql/parked-events.ts';
import { addReplayResults } from '../sql/replay-runs.ts';
import type { Batch } from './batch.ts';
import { lockLiveLines, reduceCarts } from './change-carts.ts';
import { type AppliedPosition, type BatchPart, checkPositions, FencedError, moveOffsets } from './move-offsets.ts';
import { recomputeCarts } from './recompute-carts.ts';

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

export type TogetherResult =
  /** One count for each batch. */
  | { readonly kind: 'applied'; readonly counts: readonly AppliedCounts[] }
  /** These have another owner, or another offset. Nothing was changed for any. */
  | { readonly kind: 'fenced'; readonly lost: readonly Batch[] };

/**
 * Applies `batches` under `rule`: of one topic and one replay run or none, each of another partition. Whatever this throws was
 * rolled back, except {@link CommitOutcomeUnknownError}.
 * @throws PositionWentBackError, GenerationChangedError: a partition must halt
 * @throws CommitOutcomeUnknownError: the batches may or may not be applied; read the stored offsets
 * @throws the database's error otherwise
 */
export async function applyTogether(
  database: Database,
  batches: readonly Batch[],
  rule: Rule = CURRENT_RULE,
): Promise<TogetherResult> {
  const sorted = batches.toSorted((one, other) => one.partition - other.partition);
  let counts: ReadonlyMap<Batch, AppliedCounts>;
  try {
    counts = await database.transaction((tx) => applyInTransaction(tx, sorted, rule));
  } catch (error) {
    if (error instanceof FencedError) return { kind: 'fenced', lost: error.lost };
    throw error instanceof CommitUnansweredError ? new CommitOutcomeUnknownError(sorted, error.cause) : error;
  }
  await failpoint('sink.after-commit');
  return { kind: 'applied', counts: batches.map((batch) => counts.get(batch)!) };
}

const ordersOf = ({ entries }: Batch): OrderPlaced[] =>
  entries.filter((entry) => entry.kind === 'order').map(({ event }) => event);

async function applyInTransaction(
  tx: Statements,
  batches: readonly Batch[],
  rule: Rule,
): Promise<ReadonlyMap<Batch, AppliedCounts>> {
  const parts = batches.map((batch) => ({ batch, orders: ordersOf(batch) }));
  const orders = parts.flatMap((part) => part.orders);
  const isReapply = batches[0]!.replay?.mode === 'reapply';

  // Sent together, in the order of the locks. A fenced owner takes them all, until its rollback.
  const [before, areNew, locked] = await Promise.all([
    moveOffsets(tx, parts),
    insertIntoLedger(tx, orders, rule),
    isReapply ? undefined : lockLiveLines(tx, orders),
  ]);
  let from = 0;
  const checked = parts.map((part, index) => {
    const isNew = areNew.slice(from, from + part.orders.length);
    from += isNew.length;
    checkBatch(part.batch, part.orders, before[index]!, isNew);
    return { ...part, isNew };
  });
  let changed: ReadonlySet<string> = NONE;
  if (locked === undefined) changed = await recomputeCarts(tx, orders, areNew, rule);
  else {
    const fresh = orders.filter((_, index) => areNew[index]);
    await reduceCarts(tx, fresh, locked, rule);
  }
  const counts = new Map<Batch, AppliedCounts>();
  for (const part of checked) counts.set(part.batch, recordRest(tx, part, changed));
  await failpoint('sink.before-commit');
  return counts;
}

const NONE: ReadonlySet<string> = new Set();

function checkBatch(
  batch: Batch,
  orders: readonly OrderPlaced[],
  before: AppliedPosition,
  isNew: readonly boolean[],
): void {
  if (batch.replay !== null) return;
  const check = checkPositions(before, orders, isNew);
  if (check.kind === 'went-back') throw new PositionWentBackError(batch, check);
  if (check.kind === 'generation-changed') throw new GenerationChangedError(batch, check);
}

/** Parks what can't be applied, and adds up what the batch did, in the results of its run too. */
function recordRest(
  tx: Statements,
  { batch, orders, isNew }: BatchPart & { readonly isNew: readonly boolean[] },
  changedOrders: ReadonlySet<string>,
): AppliedCounts {
  const parked = batch.entries.filter((entry) => entry.kind === 'unreadable');
  if (parked.length > 0) tx.send(insertParkedEvents(batch, parked));
  const applied = isNew.filter(Boolean).length;
  const changed = changedOrders.size === 0 ? 0 : countDistinct(orders, changedOrders);
  const counts = { orders: applied, duplicates: orders.length - applied - changed, changed, parked: parked.length };
  if (batch.replay !== null && batch.entries.length > 0) recordReplay(tx, batch, batch.replay, counts);
  return counts;
}

function countDistinct(orders: readonly OrderPlaced[], among: ReadonlySet<string>): number {
  return new Set(orders.map(({ orderId }) => orderId)).intersection(among).size;
}

/** Returns for each order whether it is new to the ledger. Of two with the same id, only the first may be new. */
export async function insertIntoLedger(
  tx: Pick<Statements, 'query'>,
  orders: readonly OrderPlaced[],
  { version }: Rule,
): Promise<readonly boolean[]> {
  if (orders.length === 0) return [];
  const distinct = new Map<string, OrderPlaced>();
  for (const order of orders) if (!distinct.has(order.orderId)) distinct.set(order.orderId, order);
  const [inserted]: InsertedOrdersRow[] = await tx.query(insertAppliedOrders(version, [...distinct.values()]));
  const { count, orderIds } = inserted!;
  if (count === orders.length) return orders.map(() => true);
  const fresh = new Set(count === distinct.size ? distinct.keys() : orderIds?.split(','));
  const isNew = orders.map(({ orderId }) => fresh.delete(orderId));
  // An id spelled otherwise than the database returns it would pass for a duplicate, and its order would be lost.
  if (fresh.size > 0) throw new Error(`${fresh.size} order ids are not in the form that the carts database returns`);
  return isNew;
}

/** Adds the batch to the results of its run: the run's proof is as exactly-once as its effect. */
function recordReplay(
  tx: Statements,
  { consumerGroup, partition, entries, tally }: Batch,
  { runId }: ReplayStamp,
  { orders: applied, duplicates: already, changed, parked }: AppliedCounts,
): void {
  const end = entries.findLast((entry) => entry.kind === 'replay-end')?.tally;
  const counts = { applied, already, changed, parked };
  tx.send(addReplayResults({ runId, consumerGroup, partition }, counts, tally, end));
}
