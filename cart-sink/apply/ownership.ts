/**
 * Who owns a partition, and how far it is consumed: both live in the carts database, not in Kafka (I6).
 *
 * Kafka's group says which sink should consume a partition; it can't stop one that was paused and believes that it
 * still does. Raising `owner_epoch` here does: every batch carries its epoch, and an older one moves nothing.
 */
import type { ConnectionPool } from '@databases/pg';
import { insertMissingOffsets } from '../sql/insert-missing-offsets.ts';
import { lockOffsets } from '../sql/lock-offsets.ts';
import { type OwnedOffset, raiseOwnerEpochs } from '../sql/raise-owner-epochs.ts';
import { readSettledOffset } from '../sql/read-settled-offset.ts';

export interface TopicPartition {
  readonly topic: string;
  readonly partition: number;
}

export interface Ownership extends TopicPartition {
  readonly ownerEpoch: bigint;
  readonly nextOffset: bigint;
  /** Where the furthest event applied from the partition was committed; null before the first, and for replays. */
  readonly lastCommitLsn: string | null;
}

/** A partition's row vanished while it was being taken over: deleted by hand, or hidden from this role. */
export class PartitionNotTakenError extends Error {
  readonly code = 'PARTITION_NOT_TAKEN';
  override readonly name = 'PartitionNotTakenError';

  constructor(missing: readonly TopicPartition[]) {
    const names = missing.map(({ topic, partition }) => `${topic}[${partition}]`).join(', ');
    super(`consumer_offsets gave no row for ${names}, so nothing was taken over; the group is joined again`);
  }
}

export type SettledOffset = Pick<Ownership, 'ownerEpoch' | 'nextOffset'>;

/**
 * Takes `partitions` over, in one transaction, and says where each continues; one never consumed continues at 0.
 * Waits for batches in flight under the previous owner, at most the session's lock timeout.
 * @throws PartitionNotTakenError, with nothing taken
 */
export async function takeOwnership(
  pool: ConnectionPool,
  group: string,
  partitions: readonly TopicPartition[],
): Promise<readonly Ownership[]> {
  const topics = partitions.map(({ topic }) => topic);
  const numbers = partitions.map(({ partition }) => partition);
  const rows: OwnedOffset[] = await pool.tx(async (transaction) => {
    await transaction.query(insertMissingOffsets(group, topics, numbers));
    await transaction.query(lockOffsets(group, topics, numbers));
    const raised: OwnedOffset[] = await transaction.query(raiseOwnerEpochs(group, topics, numbers));
    const isTaken = (wanted: TopicPartition) =>
      raised.some(({ topic, partition }) => topic === wanted.topic && partition === wanted.partition);
    const missing = partitions.filter((wanted) => !isTaken(wanted));
    // Assigned and never consumed, it would be a partition that nobody reads.
    if (missing.length > 0) throw new PartitionNotTakenError(missing);
    return raised;
  });
  return rows.map((row) => ({
    topic: row.topic,
    partition: row.partition,
    ownerEpoch: row.owner_epoch,
    nextOffset: row.next_offset,
    lastCommitLsn: row.last_commit_lsn,
  }));
}

/**
 * What the database holds for a partition now that no transaction is working on it: how one learns what became of a
 * COMMIT without an answer. Undefined when the row is gone, which nobody does but by hand.
 */
export async function readSettled(
  pool: ConnectionPool,
  group: string,
  { topic, partition }: TopicPartition,
): Promise<SettledOffset | undefined> {
  const [row]: Pick<OwnedOffset, 'next_offset' | 'owner_epoch'>[] = await pool.query(
    readSettledOffset(group, topic, partition),
  );
  return row && { ownerEpoch: row.owner_epoch, nextOffset: row.next_offset };
}
