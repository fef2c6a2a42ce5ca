/**
 * Moves the offsets of the partitions whose batches one transaction applies: its first statement, and the lock of the others.
 *
 * Guarantees (I6): nothing is committed unless every partition is ours and stands where its batch begins; rows are locked by
 * partition, so no two sinks wait for each other. A fenced transaction has sent its effects already: it must be rolled back.
 */
import { formatLsn, parseLsn } from '#schemas/lsn.ts';
import type { OrderPlaced } from '#schemas/order-placed.ts';
import type { Statements } from '#service/postgres/pipelined-transaction.ts';
import { advanceOffsets, lockOffsets, type OffsetBeforeRow, type OffsetStep } from '../sql/consumer-offsets.ts';
import type { Batch } from './batch.ts';
import { type AppliedPosition, findFurthest } from './positions.ts';

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
