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
}

/** Where a consumer group stands in these topics. */
export const readStoredOffsets = (consumerGroup: string, topics: readonly string[]) => sql`
  SELECT topic, partition, next_offset, owner_epoch, last_timeline, last_commit_lsn, last_ordinal, generation
  FROM consumer_offsets
  WHERE consumer_group = ${consumerGroup} AND topic = ANY(${[...topics]}::text[])
  ORDER BY topic, partition
`;
