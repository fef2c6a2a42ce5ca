import { sql } from '@databases/pg';

export interface OffsetMove {
  readonly consumerGroup: string;
  readonly topic: string;
  readonly partition: number;
  readonly expectedOffset: bigint;
  readonly expectedEpoch: bigint;
  readonly nextOffset: bigint;
  /** Forget position and generation of what was applied last: what comes need not continue it. */
  readonly forgetPosition: boolean;
}

/** Moves a partition and fences its owner, if it still stands where it stood: one row, or none. */
export const moveOffset = (move: OffsetMove) => sql`
  UPDATE consumer_offsets
  SET next_offset = ${move.nextOffset}, owner_epoch = owner_epoch + 1, updated_at = now(),
      last_timeline = CASE WHEN NOT ${move.forgetPosition}::boolean THEN last_timeline END,
      last_commit_lsn = CASE WHEN NOT ${move.forgetPosition}::boolean THEN last_commit_lsn END,
      last_ordinal = CASE WHEN NOT ${move.forgetPosition}::boolean THEN last_ordinal END,
      generation = CASE WHEN NOT ${move.forgetPosition}::boolean THEN generation END
  WHERE consumer_group = ${move.consumerGroup} AND topic = ${move.topic} AND partition = ${move.partition}
    AND next_offset = ${move.expectedOffset} AND owner_epoch = ${move.expectedEpoch}
  RETURNING owner_epoch
`;
