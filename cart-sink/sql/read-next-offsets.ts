import { sql } from '@databases/pg';

export interface NextOffsetRow {
  readonly topic: string;
  readonly partition: number;
  readonly next_offset: bigint;
}

/** Up to which offset, exclusive, a consumer group has applied each partition of these topics. */
export const readNextOffsets = (consumerGroup: string, topics: readonly string[]) => sql`
  SELECT topic, partition, next_offset FROM consumer_offsets
  WHERE consumer_group = ${consumerGroup} AND topic = ANY(${[...topics]}::text[])
`;
