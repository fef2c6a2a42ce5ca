import { sql } from '@databases/pg';

/** Makes rows for partitions never consumed by `group`: from offset 0, owned by nobody yet. Others are left alone. */
export const insertMissingOffsets = (group: string, topics: readonly string[], partitions: readonly number[]) => sql`
  INSERT INTO consumer_offsets (consumer_group, topic, partition, next_offset, owner_epoch)
  SELECT ${group}, topic, partition, 0, 0
  FROM unnest(${topics}::text[], ${partitions}::int[]) AS assigned (topic, partition)
  ORDER BY topic COLLATE "C", partition
  ON CONFLICT (consumer_group, topic, partition) DO NOTHING
`;
