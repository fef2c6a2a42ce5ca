import { sql } from '@databases/pg';

/** Runs whose proof has not been seen, oldest first. */
export const readUnfinishedRuns = sql`
  SELECT run_id, state, plan::text AS plan, created_at, finished_at, verdict::text AS verdict
  FROM replay_runs WHERE state IN ('publishing', 'published') ORDER BY created_at
`;
