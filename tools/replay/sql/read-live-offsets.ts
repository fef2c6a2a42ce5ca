import { sql } from '@databases/pg';

/** Up to which offset a group has applied each partition of a topic: partition, next_offset. */
export const readLiveOffsets = (group: string, topic: string) => sql`
  SELECT partition, next_offset FROM consumer_offsets WHERE consumer_group = ${group} AND topic = ${topic}
`;
