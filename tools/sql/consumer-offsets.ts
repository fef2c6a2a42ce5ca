// Statements on `consumer_offsets` that only an operator's command may run: reading the offsets of the sinks, and moving them.
// Every move raises `owner_epoch`, so that a sink which still holds the partition is fenced (I6).
import { sql } from '@databases/pg';

export interface StoredOffsetRow {
  readonly topic: string;
  readonly partition: number;
  readonly next_offset: bigint;
  readonly owner_epoch: bigint;
  readonly last_timeline: number | null;
  readonly last_commit_lsn: string | null;
  readonly last_ordinal: number | null;
  readonly generation: number | null;
  readonly topic_id: string | null;
}

/** The stored offsets and positions of a consumer group in these topics. */
export const readStoredOffsets = (consumerGroup: string, topics: readonly string[]) => sql`
  SELECT topic, partition, next_offset, owner_epoch, last_timeline, last_commit_lsn, last_ordinal, generation,
    topic_id
  FROM consumer_offsets
  WHERE consumer_group = ${consumerGroup} AND topic = ANY(${[...topics]}::text[])
  ORDER BY topic, partition
`;

export interface HaltedPartitionRow {
  readonly topic: string;
  readonly partition: number;
  readonly next_offset: bigint;
  readonly owner_epoch: bigint;
  readonly halted_code: string;
  readonly halted_message: string;
  readonly halted_at: Date;
}

/** The partitions of these topics that have halted, as the sink that owns or owned each has stored it. */
export const readHaltedPartitions = (consumerGroup: string, topics: readonly string[]) => sql`
  SELECT topic, partition, next_offset, owner_epoch, halted_code, halted_message, halted_at
  FROM consumer_offsets
  WHERE consumer_group = ${consumerGroup} AND topic = ANY(${[...topics]}::text[]) AND halted_code IS NOT NULL
  ORDER BY topic, partition
`;

export interface GroupPositionRow {
  readonly positions: number;
  readonly first_timeline: number | null;
  readonly last_timeline: number | null;
  readonly lowest_lsn: string | null;
}

/** How far each consumer group has applied a topic: by the partition that is furthest back. */
export const readGroupPositions = (topic: string) => sql`
  SELECT count(last_commit_lsn)::int AS positions, min(last_timeline) AS first_timeline,
    max(last_timeline) AS last_timeline, min(last_commit_lsn)::text AS lowest_lsn
  FROM consumer_offsets WHERE topic = ${topic} GROUP BY consumer_group
`;

/** The newest generation of a topic that any group has stored; null before the first event. */
export const readTopicGeneration = (topic: string) => sql`
  SELECT max(generation)::int AS generation FROM consumer_offsets WHERE topic = ${topic}
`;

export interface OffsetMove {
  readonly consumerGroup: string;
  readonly topic: string;
  readonly partition: number;
  readonly expectedOffset: bigint;
  readonly expectedEpoch: bigint;
  readonly nextOffset: bigint;
  /** Clear position and generation of what was applied last: the next event need not continue it. */
  readonly forgetPosition: boolean;
  /** Kafka's id of the topic that has the name now. */
  readonly topicId: string | null;
}

/** Moves a partition and fences its owner, if offset and epoch are still the expected ones: one row, or none. */
export const moveOffset = (move: OffsetMove) => sql`
  UPDATE consumer_offsets
  SET next_offset = ${move.nextOffset}, topic_id = ${move.topicId}, owner_epoch = owner_epoch + 1, updated_at = now(),
      halted_code = NULL, halted_message = NULL, halted_at = NULL,
      last_timeline = CASE WHEN NOT ${move.forgetPosition}::boolean THEN last_timeline END,
      last_commit_lsn = CASE WHEN NOT ${move.forgetPosition}::boolean THEN last_commit_lsn END,
      last_ordinal = CASE WHEN NOT ${move.forgetPosition}::boolean THEN last_ordinal END,
      generation = CASE WHEN NOT ${move.forgetPosition}::boolean THEN generation END
  WHERE consumer_group = ${move.consumerGroup} AND topic = ${move.topic} AND partition = ${move.partition}
    AND next_offset = ${move.expectedOffset} AND owner_epoch = ${move.expectedEpoch}
  RETURNING owner_epoch
`;

/**
 * Announces a new generation of a live topic, with its new id, to every group that consumed it: offset 0, no position. Returns the
 * partitions with their new epochs.
 */
export const resetTopicOffsets = (topic: string, generation: number, topicId: string | null) => sql`
  UPDATE consumer_offsets
  SET next_offset = 0, last_timeline = NULL, last_commit_lsn = NULL, last_ordinal = NULL, generation = ${generation},
      topic_id = ${topicId}, owner_epoch = owner_epoch + 1, updated_at = now(),
      halted_code = NULL, halted_message = NULL, halted_at = NULL
  WHERE topic = ${topic}
  RETURNING consumer_group, partition, owner_epoch
`;
