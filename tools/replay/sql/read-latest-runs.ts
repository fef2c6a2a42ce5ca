import { sql } from '@databases/pg';

/** For whoever has mistyped a run: the ids of the last few, newest first. */
export const readLatestRuns = sql`SELECT run_id FROM replay_runs ORDER BY created_at DESC LIMIT 5`;
