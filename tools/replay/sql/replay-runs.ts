// Statements on `replay_runs`, which this tool writes, and on `replay_results`, which the sinks write; and the lock under
// which one process at a time publishes to a replay topic.
import { sql } from '@databases/pg';

/** Fails with 42P01 or 42703 unless migrations 0002, 0003 and 0007 of the carts database were applied. */
export const checkReplayTables = sql`
  SELECT halted_code, passed_over_at FROM consumer_offsets, replay_runs, replay_results, (SELECT line_created_xid FROM cart_removals LIMIT 0) AS removals
  LIMIT 0
`;

const lockKey = (replayTopic: string) => sql`hashtextextended(${`tillstream.replay.${replayTopic}`}, 0)`;

/** Taken by the session that publishes to this topic; false when another one holds it. */
export const tryRunLock = (replayTopic: string) =>
  sql`SELECT pg_try_advisory_lock(${lockKey(replayTopic)}) AS is_taken`;

export const releaseRunLock = (replayTopic: string) => sql`SELECT pg_advisory_unlock(${lockKey(replayTopic)})`;

/** Stores a run that is about to be published; a stored one is left as it is. `plan`: JSON text. */
export const insertRun = (run: {
  readonly runId: string;
  readonly mode: string;
  readonly source: string;
  readonly ruleVersion: number;
  readonly plan: string;
}) => sql`
  INSERT INTO replay_runs (run_id, mode, source, rule_version, plan)
  VALUES (${run.runId}, ${run.mode}, ${run.source}, ${run.ruleVersion}, ${run.plan}::jsonb)
  ON CONFLICT (run_id) DO NOTHING
`;

/** Stores a run that no sink shall apply; one row, or none if it is stored already. `plan`: JSON text. */
export const insertPassedOverRun = (run: Parameters<typeof insertRun>[0]) => sql`
  INSERT INTO replay_runs (run_id, mode, source, rule_version, plan, state, finished_at, passed_over_at)
  VALUES (${run.runId}, ${run.mode}, ${run.source}, ${run.ruleVersion}, ${run.plan}::jsonb, 'cancelled', now(), now())
  ON CONFLICT (run_id) DO NOTHING
  RETURNING run_id
`;

/** Moves a run on, unless it was cancelled or has its verdict; `verdict`: JSON text, with the end of the run. */
export const updateRunState = (runId: string, state: string, verdict: string | null) => sql`
  UPDATE replay_runs SET state = ${state}, verdict = ${verdict}::jsonb,
    finished_at = CASE WHEN ${state} IN ('publishing', 'published') THEN NULL ELSE now() END
  WHERE run_id = ${runId} AND state IN ('publishing', 'published')
`;

const selectRuns = sql`SELECT run_id, state, plan::text AS plan, created_at, finished_at FROM replay_runs`;

export const readRunRow = (runId: string) => sql`${selectRuns} WHERE run_id = ${runId}`;

/** Runs without a verdict, oldest first. */
export const readUnfinishedRuns = sql`${selectRuns} WHERE state IN ('publishing', 'published') ORDER BY created_at`;

/** The ids of the last five runs, newest first: for a RUN_ID that does not exist. */
export const readLatestRuns = sql`SELECT run_id FROM replay_runs ORDER BY created_at DESC LIMIT 5`;

/** What the sinks of a group have done with a run, by partition. */
export const readRunResults = (runId: string, group: string) => sql`
  SELECT partition, applied, already, changed, parked, checksum::text AS checksum,
    end_count, end_checksum::text AS end_checksum, ended_at, updated_at
  FROM replay_results WHERE run_id = ${runId} AND consumer_group = ${group} ORDER BY partition
`;
