import { sql } from '@databases/pg';

/** Locks partitions' rows by topic and partition, after the transactions that still work on them. */
export const lockOffsets = (group: string, topics: readonly string[], partitions: readonly number[]) => sql`
  SELECT stored.topic, stored.partition
  FROM unnest(${topics}::text[], ${partitions}::int[]) AS assigned (topic, partition)
  JOIN consumer_offsets AS stored USING (topic, partition)
  WHERE stored.consumer_group = ${group}
  ORDER BY stored.topic, stored.partition
  FOR UPDATE OF stored
`;
