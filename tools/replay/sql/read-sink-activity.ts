import { sql } from '@databases/pg';

/** Up to where a group has consumed a topic, by partition, and how many seconds ago that last moved. */
export const readSinkActivity = (group: string, topic: string) => sql`
  SELECT partition, next_offset, extract(epoch FROM clock_timestamp() - updated_at)::float8 AS idle_seconds
  FROM consumer_offsets WHERE consumer_group = ${group} AND topic = ${topic} ORDER BY partition
`;
