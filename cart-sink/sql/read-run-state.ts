import { sql } from '@databases/pg';

/** The state of a run of the replay tool; no row when the tool has not stored it. */
export const readRunState = (runId: string) => sql`SELECT state FROM replay_runs WHERE run_id = ${runId}`;
