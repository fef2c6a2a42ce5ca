/**
 * Who owns a partition, and up to where it is consumed: the carts database holds both, not Kafka (I6).
 *
 * Kafka's group decides which sink should consume a partition, but can't stop a sink that was paused and believes that
 * it still owns it. Raising `owner_epoch`, the fencing token, does: a batch under an older epoch changes nothing.
 */
import type { ConnectionPool } from '@databases/pg';
import { PartitionNotTakenError } from '../errors.ts';
import {
  insertMissingOffsets,
  lockOffsets,
  type Ownership,
  raiseOwnerEpochs,
  readStoredOffset,
  recordTopicId,
  type StoredOffset,
  type TopicPartition,
} from '../sql/consumer-offsets.ts';

/**
 * Takes `partitions` over in one transaction and returns where each resumes; one that was never consumed, at 0.
 * Waits for batches in flight under the previous owner, at most for the session's lock timeout.
 * @throws PartitionNotTakenError, with nothing taken
 */
export async function takeOwnership(
  pool: ConnectionPool,
  group: string,
  partitions: readonly TopicPartition[],
): Promise<readonly Ownership[]> {
  return pool.tx(async (transaction) => {
    await transaction.query(insertMissingOffsets(group, partitions));
    await transaction.query(lockOffsets(group, partitions));
    const taken: Ownership[] = await transaction.query(raiseOwnerEpochs(group, partitions));
    const isTaken = (wanted: TopicPartition) =>
      taken.some(({ topic, partition }) => topic === wanted.topic && partition === wanted.partition);
    const missing = partitions.filter((wanted) => !isTaken(wanted));
    // Assigned and never fetched, it would be a partition that no sink reads.
    if (missing.length > 0) throw new PartitionNotTakenError(missing);
    return taken;
  });
}

/** Stores of each partition in which topic its offset counts; of one that another sink owns by now, nothing. */
export async function recordTopicIds(pool: ConnectionPool, group: string, learnt: readonly Ownership[]): Promise<void> {
  await pool.tx(async (transaction) => {
    for (const ownership of learnt) await transaction.query(recordTopicId(group, ownership, ownership.topicId!));
  });
}

/**
 * What the database holds of a partition once no transaction works on it: tells what became of a COMMIT that was not
 * answered. Undefined if the row is gone; only a person deletes it.
 */
export async function readStored(
  pool: ConnectionPool,
  group: string,
  partition: TopicPartition,
): Promise<StoredOffset | undefined> {
  const [stored]: StoredOffset[] = await pool.query(readStoredOffset(group, partition));
  return stored;
}
