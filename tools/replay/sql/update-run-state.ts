import { sql } from '@databases/pg';

/** Moves a run on, unless it was cancelled or has its verdict; `verdict`: JSON text, with the end of the run. */
export const updateRunState = (runId: string, state: string, verdict: string | null) => sql`
  UPDATE replay_runs SET state = ${state}, verdict = ${verdict}::jsonb,
    finished_at = CASE WHEN ${state} IN ('publishing', 'published') THEN NULL ELSE now() END
  WHERE run_id = ${runId} AND state IN ('publishing', 'published')
  RETURNING state
`;
