import { sql } from '@databases/pg';

export interface GroupPositionRow {
  readonly positions: number;
  readonly first_timeline: number | null;
  readonly last_timeline: number | null;
  readonly lowest_lsn: string | null;
}

/** How far each consumer group has applied a topic: by the partition that is furthest back. */
export const readGroupPositions = (topic: string) => sql`
  SELECT count(last_commit_lsn)::int AS positions, min(last_timeline) AS first_timeline,
    max(last_timeline) AS last_timeline, min(last_commit_lsn)::text AS lowest_lsn
  FROM consumer_offsets WHERE topic = ${topic} GROUP BY consumer_group
`;
