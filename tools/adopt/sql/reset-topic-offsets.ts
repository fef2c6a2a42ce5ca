import { sql } from '@databases/pg';

/**
 * Announces a new generation of a live topic to every group that consumed it: from its start, nothing applied of it yet.
 * The epoch fences sinks that still hold partitions of the old one.
 */
export const resetTopicOffsets = (topic: string, generation: number) => sql`
  UPDATE consumer_offsets
  SET next_offset = 0, last_timeline = NULL, last_commit_lsn = NULL, last_ordinal = NULL, generation = ${generation},
      owner_epoch = owner_epoch + 1, updated_at = now()
  WHERE topic = ${topic}
  RETURNING consumer_group, partition, owner_epoch
`;
