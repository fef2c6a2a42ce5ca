import { sql } from '@databases/pg';

export const readRunRow = (runId: string) => sql`
  SELECT run_id, state, plan::text AS plan, created_at, finished_at, verdict::text AS verdict
  FROM replay_runs WHERE run_id = ${runId}
`;
