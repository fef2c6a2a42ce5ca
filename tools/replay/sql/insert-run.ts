import { sql } from '@databases/pg';

/** A run about to be published; one that is known already is left as it is. `plan`: JSON text. */
export const insertRun = (run: {
  runId: string;
  mode: string;
  source: string;
  ruleVersion: number;
  plan: string;
}) => sql`
  INSERT INTO replay_runs (run_id, mode, source, rule_version, plan)
  VALUES (${run.runId}, ${run.mode}, ${run.source}, ${run.ruleVersion}, ${run.plan}::jsonb)
  ON CONFLICT (run_id) DO NOTHING
`;
