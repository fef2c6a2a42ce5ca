import { sql } from '@databases/pg';

/** The newest generation that any sink knows of a topic; null before the first event. */
export const readTopicGeneration = (topic: string) => sql`
  SELECT max(generation)::int AS generation FROM consumer_offsets WHERE topic = ${topic}
`;
