import { sql } from '@databases/pg';

/** How far a consumer group has applied a topic, by partition. */
export const readSinkOffsets = (consumerGroup: string, topic: string) => sql`
  SELECT partition, next_offset FROM consumer_offsets WHERE consumer_group = ${consumerGroup} AND topic = ${topic}
`;
