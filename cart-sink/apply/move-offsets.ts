/**
 * Moves the offsets of the partitions whose batches one transaction applies: its first statement, and the lock of the others.
 *
 * Guarantees (I6): nothing is committed unless every partition is ours and stands where its batch begins; rows are locked by
 * partition, so no two sinks wait for each other. A fenced transaction has sent its effects already: it must be rolled back.
 * Checks that the events of a live partition continue what was applied from it (I4, I11): the reader publishes positions that
 * strictly increase within a partition, so one at or before the furthest is a duplicate of an order that the ledger has (skipped
 * and counted), or evidence of another history: a second writer, a restored topic or database.
 */
import { formatLsn, parseLsn } from '#schemas/lsn.ts';
import type { OrderPlaced } from '#schemas/order-placed.ts';
import { comparePositions, type Position } from '#schemas/position.ts';
import type { Statements } from '#service/postgres/pipelined-transaction.ts';
import { advanceOffsets, lockOffsets, type OffsetBeforeRow, type OffsetStep } from '../sql/consumer-offsets.ts';
import type { Batch } from './batch.ts';

export interface BatchPart {
  readonly batch: Batch;
  /** Of its entries. */
  readonly orders: readonly OrderPlaced[];
}

/** Thrown inside the transaction to roll it back, and caught right outside of it. */
export class FencedError extends Error {
  readonly lost: readonly Batch[];

  constructor(lost: readonly Batch[]) {
    super('another sink owns a partition');
    this.lost = lost;
  }
}

/**
 * Proves that the partitions are ours and stand where the batches begin; `parts` come by partition. Returns the positions that
 * were applied before.
 * @throws FencedError
 */
export async function moveOffsets(tx: Statements, parts: readonly BatchPart[]): Promise<readonly AppliedPosition[]> {
  const batches = parts.map(({ batch }) => batch);
  const { consumerGroup, topic } = batches[0]!;
  const [, rows] = await Promise.all([
    // One row is locked by the statement that moves it.
    parts.length > 1 ? tx.query(lockOffsets(consumerGroup, batches)) : undefined,
    tx.query(advanceOffsets(consumerGroup, topic, parts.map(formatStep))) as Promise<OffsetBeforeRow[]>,
  ]);
  const before = new Map(rows.map((row) => [row.partition, row]));
  const lost = batches.filter(({ partition }) => !before.has(partition));
  if (lost.length > 0) throw new FencedError(lost);
  return batches.map(({ partition }) => {
    const { timeline, commitLsn, ordinal, generation } = before.get(partition)!;
    const known = timeline !== null && commitLsn !== null && ordinal !== null;
    return { position: known ? { timeline, commitLsn: parseLsn(commitLsn), ordinal } : null, generation };
  });
}

function formatStep({ batch, orders }: BatchPart): OffsetStep {
  const furthest = batch.replay === null ? findFurthest(orders) : undefined;
  return {
    ...batch,
    timeline: furthest?.timeline ?? null,
    commitLsn: furthest === undefined ? null : formatLsn(furthest.commitLsn),
    ordinal: furthest?.ordinal ?? null,
    generation: furthest?.generation ?? null,
  };
}

export interface AppliedPosition {
  /** The furthest position applied from the partition; null before the first, or if an operator has cleared it. */
  readonly position: Position | null;
  /** The generation that events must have, until an operator announces a new one; null before the first. */
  readonly generation: number | null;
}

export type PositionCheck =
  | { readonly kind: 'continues' }
  | { readonly kind: 'went-back'; readonly applied: Position; readonly found: Position }
  | { readonly kind: 'generation-changed'; readonly applied: number; readonly found: number };

/** `orders` in the sequence of Kafka; `isNew[i]`: the ledger did not have `orders[i]`. */
export function checkPositions(
  before: AppliedPosition,
  orders: readonly OrderPlaced[],
  isNew: readonly boolean[],
): PositionCheck {
  let { position, generation } = before;
  for (const [index, order] of orders.entries()) {
    generation ??= order.generation;
    if (order.generation !== generation) {
      return { kind: 'generation-changed', applied: generation, found: order.generation };
    }
    if (position === null || comparePositions(order, position) > 0) position = order;
    else if (isNew[index]) return { kind: 'went-back', applied: position, found: order };
  }
  return { kind: 'continues' };
}

/** The event with the furthest position; undefined if there is none. */
export function findFurthest(orders: readonly OrderPlaced[]): OrderPlaced | undefined {
  let furthest: OrderPlaced | undefined;
  for (const order of orders) {
    if (furthest === undefined || comparePositions(order, furthest) > 0) furthest = order;
  }
  return furthest;
}
