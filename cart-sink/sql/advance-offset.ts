// The first statement of every batch: it proves that the partition is still ours and stands where the batch begins,
// and locks its row, so that a successor waits for the outcome (I6). What follows from no row is apply-batch's.
import { sql } from '@databases/pg';

/** The partition's row as it was before the batch; the position is null before the first live event. */
export interface OffsetBefore {
  readonly last_timeline: number | null;
  readonly last_commit_lsn: string | null;
  readonly last_ordinal: number | null;
  readonly generation: number | null;
}

/**
 * Moves a partition from `expectedOffset` to `nextOffset`, if `ownerEpoch` still owns it: one row, or none if it does
 * not (I6). The row stays locked until the transaction ends, so that a successor waits for its outcome.
 *
 * `mine` is the newest version, on which the conditions are checked, `before` the version that the statement began
 * with. They are the same one: whoever changes this row moves next_offset or raises owner_epoch, and then none matches.
 */
export const advanceOffset = (step: {
  readonly consumerGroup: string;
  readonly topic: string;
  readonly partition: number;
  readonly ownerEpoch: bigint;
  readonly expectedOffset: bigint;
  readonly nextOffset: bigint;
  readonly timeline: number | null;
  readonly commitLsn: string | null;
  readonly ordinal: number | null;
  readonly generation: number | null;
}) => sql`
  UPDATE consumer_offsets AS mine
  SET next_offset = ${step.nextOffset}, updated_at = now(),
      last_timeline = furthest.timeline, last_commit_lsn = furthest.commit_lsn, last_ordinal = furthest.ordinal,
      generation = coalesce(${step.generation}::int, mine.generation)
  FROM consumer_offsets AS before
  CROSS JOIN LATERAL (
    SELECT timeline, commit_lsn, ordinal
    FROM (VALUES (before.last_timeline, before.last_commit_lsn, before.last_ordinal),
                 (${step.timeline}::int, ${step.commitLsn}::pg_lsn, ${step.ordinal}::int)
         ) AS places (timeline, commit_lsn, ordinal)
    ORDER BY timeline DESC NULLS LAST, commit_lsn DESC, ordinal DESC
    LIMIT 1
  ) AS furthest
  WHERE mine.consumer_group = ${step.consumerGroup} AND mine.topic = ${step.topic}
    AND mine.partition = ${step.partition}
    AND mine.next_offset = ${step.expectedOffset} AND mine.owner_epoch = ${step.ownerEpoch}
    AND (before.consumer_group, before.topic, before.partition) = (mine.consumer_group, mine.topic, mine.partition)
  RETURNING before.last_timeline, before.last_commit_lsn, before.last_ordinal, before.generation
`;
