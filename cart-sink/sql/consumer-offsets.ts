/**
 * Statements on `consumer_offsets`: which offset of a partition is applied next, and which sink owns the partition
 * (I6).
 *
 * `owner_epoch` is the fencing token: taking a partition over raises it, and a batch under an older epoch updates no
 * row. Every statement that locks several rows locks them by topic and partition, so no two transactions wait for each
 * other.
 */
import { sql } from '@databases/pg';

export interface TopicPartition {
  readonly topic: string;
  readonly partition: number;
}

export interface NextOffsetRow extends TopicPartition {
  readonly next_offset: bigint;
}

export interface StoredOffset {
  readonly ownerEpoch: bigint;
  readonly nextOffset: bigint;
}

export interface Ownership extends TopicPartition, StoredOffset {
  /** Where the furthest event applied from the partition was committed; null before the first, and for replays. */
  readonly lastCommitLsn: string | null;
  /** Kafka's id of the topic in which `nextOffset` counts; null before a sink has learnt it. */
  readonly topicId: string | null;
}

/** The furthest position applied from a partition before its batch; null before the first live event. */
export interface OffsetBeforeRow {
  readonly partition: number;
  readonly timeline: number | null;
  readonly commitLsn: string | null;
  readonly ordinal: number | null;
  readonly generation: number | null;
}

/** How one partition moves. */
export interface OffsetStep {
  readonly partition: number;
  readonly ownerEpoch: bigint;
  readonly expectedOffset: bigint;
  readonly nextOffset: bigint;
  readonly timeline: number | null;
  readonly commitLsn: string | null;
  readonly ordinal: number | null;
  readonly generation: number | null;
}

/**
 * The first statement of every batch; lock the rows of several before it, in their order. Moves each partition of the topic
 * from `expectedOffset` to `nextOffset` if `ownerEpoch` still owns it: returns one row a partition, and none for one that it
 * does not. The rows stay locked until the transaction ends, so a successor waits for the outcome.
 *
 * `mine` is the newest version, on which the conditions are checked; `before` is the version that the statement began
 * with. They are the same: every writer of this row moves next_offset or raises owner_epoch, and then none matches.
 */
export const advanceOffsets = (group: string, topic: string, steps: readonly OffsetStep[]) => sql`
  UPDATE consumer_offsets AS mine
  SET next_offset = step.next_offset, updated_at = now(),
      last_timeline = furthest.timeline, last_commit_lsn = furthest.commit_lsn, last_ordinal = furthest.ordinal,
      generation = coalesce(step.generation, mine.generation)
  FROM unnest(
    ${steps.map((step) => step.partition)}::int[],
    ${steps.map((step) => step.ownerEpoch)}::bigint[],
    ${steps.map((step) => step.expectedOffset)}::bigint[],
    ${steps.map((step) => step.nextOffset)}::bigint[],
    ${steps.map((step) => step.timeline)}::int[],
    ${steps.map((step) => step.commitLsn)}::pg_lsn[],
    ${steps.map((step) => step.ordinal)}::int[],
    ${steps.map((step) => step.generation)}::int[]
  ) AS step (partition, owner_epoch, expected_offset, next_offset, timeline, commit_lsn, ordinal, generation)
  JOIN consumer_offsets AS before USING (partition)
  CROSS JOIN LATERAL (
    SELECT timeline, commit_lsn, ordinal
    FROM (VALUES (before.last_timeline, before.last_commit_lsn, before.last_ordinal),
                 (step.timeline, step.commit_lsn, step.ordinal)
         ) AS places (timeline, commit_lsn, ordinal)
    ORDER BY timeline DESC NULLS LAST, commit_lsn DESC, ordinal DESC
    LIMIT 1
  ) AS furthest
  WHERE mine.consumer_group = ${group} AND mine.topic = ${topic} AND mine.partition = step.partition
    AND mine.next_offset = step.expected_offset AND mine.owner_epoch = step.owner_epoch
    AND before.consumer_group = ${group} AND before.topic = ${topic}
  RETURNING mine.partition, before.last_timeline AS timeline, before.last_commit_lsn AS "commitLsn",
    before.last_ordinal AS ordinal, before.generation
`;

const unnestPartitions = (partitions: readonly TopicPartition[]) => sql`
  unnest(${partitions.map(({ topic }) => topic)}::text[], ${partitions.map(({ partition }) => partition)}::int[])
`;

/** Inserts rows for partitions that `group` never consumed: offset 0, without an owner. Keeps existing rows. */
export const insertMissingOffsets = (group: string, partitions: readonly TopicPartition[]) => sql`
  INSERT INTO consumer_offsets (consumer_group, topic, partition, next_offset, owner_epoch)
  SELECT ${group}, topic, partition, 0, 0
  FROM ${unnestPartitions(partitions)} AS assigned (topic, partition)
  ORDER BY topic COLLATE "C", partition
  ON CONFLICT (consumer_group, topic, partition) DO NOTHING
`;

/** Locks the partitions' rows, after the transactions that still work on them. */
export const lockOffsets = (group: string, partitions: readonly TopicPartition[]) => sql`
  SELECT stored.topic, stored.partition
  FROM ${unnestPartitions(partitions)} AS assigned (topic, partition)
  JOIN consumer_offsets AS stored USING (topic, partition)
  WHERE stored.consumer_group = ${group}
  ORDER BY stored.topic, stored.partition
  FOR UPDATE OF stored
`;

/** Fences every earlier owner of these partitions. The rows must be locked; returns them as {@link Ownership}. */
export const raiseOwnerEpochs = (group: string, partitions: readonly TopicPartition[]) => sql`
  UPDATE consumer_offsets AS stored
  SET owner_epoch = stored.owner_epoch + 1, updated_at = now(), halted_code = NULL, halted_message = NULL, halted_at = NULL
  FROM ${unnestPartitions(partitions)} AS assigned (topic, partition)
  WHERE stored.consumer_group = ${group}
    AND (stored.topic, stored.partition) = (assigned.topic, assigned.partition)
  RETURNING stored.topic, stored.partition, stored.owner_epoch AS "ownerEpoch", stored.next_offset AS "nextOffset",
    stored.last_commit_lsn AS "lastCommitLsn", stored.topic_id AS "topicId"
`;

/** Records in which topic the offset of a partition counts; under another owner nothing changes. */
export const recordTopicId = (group: string, { topic, partition, ownerEpoch }: Ownership, topicId: string) => sql`
  UPDATE consumer_offsets SET topic_id = ${topicId}
  WHERE consumer_group = ${group} AND topic = ${topic} AND partition = ${partition} AND owner_epoch = ${ownerEpoch}
`;

/** Tells audit and replay why the partition stands; under another owner nothing changes. Its offset stays. */
export const recordHalt = (
  group: string,
  { topic, partition, ownerEpoch }: Ownership,
  halt: { readonly code: string; readonly message: string },
) => sql`
  UPDATE consumer_offsets SET halted_code = ${halt.code}, halted_message = ${halt.message}, halted_at = now()
  WHERE consumer_group = ${group} AND topic = ${topic} AND partition = ${partition} AND owner_epoch = ${ownerEpoch}
`;

/**
 * Moves a halted partition behind a record that an operator has decided about, and fences its owner. The position that was
 * applied last stays. Returns one row, or none if the partition is not halted there any more.
 */
export const passHaltedRecord = (
  group: string,
  { topic, partition, ownerEpoch, nextOffset }: TopicPartition & StoredOffset,
  recordOffset: bigint,
) => sql`
  UPDATE consumer_offsets
  SET next_offset = ${recordOffset}::bigint + 1, owner_epoch = owner_epoch + 1, updated_at = now(),
      halted_code = NULL, halted_message = NULL, halted_at = NULL
  WHERE consumer_group = ${group} AND topic = ${topic} AND partition = ${partition}
    AND next_offset = ${nextOffset} AND owner_epoch = ${ownerEpoch} AND halted_code IS NOT NULL
  RETURNING owner_epoch AS "ownerEpoch"
`;

/**
 * A partition's offset and owner once no transaction works on it any more. The lock waits for a transaction whose
 * COMMIT was not answered; a plain read would return what was there before it.
 */
export const readStoredOffset = (group: string, { topic, partition }: TopicPartition) => sql`
  SELECT next_offset AS "nextOffset", owner_epoch AS "ownerEpoch" FROM consumer_offsets
  WHERE consumer_group = ${group} AND topic = ${topic} AND partition = ${partition}
  FOR UPDATE
`;

/** Up to which offset, exclusive, a consumer group has applied each partition of these topics. */
export const readNextOffsets = (consumerGroup: string, topics: readonly string[]) => sql`
  SELECT topic, partition, next_offset FROM consumer_offsets
  WHERE consumer_group = ${consumerGroup} AND topic = ANY(${[...topics]}::text[])
`;

/** A partition as consoles show it. */
export interface PartitionStateRow extends NextOffsetRow {
  readonly owner_epoch: bigint;
  /** Null all three before the first event of the live topic. */
  readonly timeline: number | null;
  readonly commit_lsn: string | null;
  readonly ordinal: number | null;
  readonly updated_at: Date;
  /** Null, as the message and the time, unless the owner has halted the partition. */
  readonly halted_code: string | null;
  readonly halted_message: string | null;
  readonly halted_at: Date | null;
}

/** {@link PartitionStateRow}s by topic and partition. */
export const readPartitionStates = (consumerGroup: string, topics: readonly string[]) => sql`
  SELECT topic, partition, next_offset, owner_epoch, last_timeline AS timeline, last_commit_lsn::text AS commit_lsn,
    last_ordinal AS ordinal, updated_at, halted_code, halted_message, halted_at
  FROM consumer_offsets
  WHERE consumer_group = ${consumerGroup} AND topic = ANY(${[...topics]}::text[])
  ORDER BY topic, partition
`;
