// The runs as the carts database keeps them: what was planned, how far it got, what came of it. The tool writes
// replay_runs, the sinks write replay_results. Guarantees: one run at a time by a lock of the session; a run's verdict is
// given once. What is published is not here: the progress records in Kafka tell.

import { formatPlan, parsePlan, type ReplayPlan } from '#schemas/replay/plan.ts';
import type { ReplayTally } from '#schemas/replay/records.ts';
import type { Database } from '#service/database.ts';
import { ArgumentError, RunBusyError } from '../cli/errors.ts';
import { insertRun } from '../sql/insert-run.ts';
import { readLatestRuns } from '../sql/read-latest-runs.ts';
import { readRunRow } from '../sql/read-run.ts';
import { readRunResults } from '../sql/read-run-results.ts';
import { readUnfinishedRuns } from '../sql/read-unfinished-runs.ts';
import { releaseRunLock } from '../sql/release-run-lock.ts';
import { tryRunLock } from '../sql/try-run-lock.ts';
import { updateRunState } from '../sql/update-run-state.ts';

export type RunState = 'publishing' | 'published' | 'agreed' | 'disagreed' | 'cancelled';

export interface RunRecord {
  readonly runId: string;
  readonly state: RunState;
  readonly plan: ReplayPlan;
  readonly createdAt: Date;
  readonly finishedAt: Date | null;
  /** As stored by {@link finishRun}. */
  readonly verdict: unknown;
}

/** What the sinks have done with a run in one partition. */
export interface RunResult {
  readonly partition: number;
  readonly applied: bigint;
  readonly already: bigint;
  readonly changed: bigint;
  readonly parked: bigint;
  readonly checksum: bigint;
  /** What the run's end record says; null before the sink has come to it. */
  readonly end: ReplayTally | null;
  readonly updatedAt: Date;
}

type Carts = Pick<Database, 'pool'>;

interface RunRow {
  run_id: string;
  state: RunState;
  plan: string;
  created_at: Date;
  finished_at: Date | null;
  verdict: string | null;
}

/** Runs `work` while no other process publishes to this topic. @throws RunBusyError */
export function withRunLock<T>({ pool }: Carts, replayTopic: string, work: () => Promise<T>): Promise<T> {
  return pool.task(async (session) => {
    const [row] = await session.query(tryRunLock(replayTopic));
    if (!row.is_taken) {
      throw new RunBusyError(
        `another process is publishing to ${replayTopic}: one run at a time; wait, or stop it there`,
      );
    }
    try {
      return await work();
    } finally {
      await session.query(releaseRunLock(replayTopic)).catch(() => undefined); // a lost session has lost the lock
    }
  });
}

/** Keeps a run before its first record is published; known already is as good. */
export async function storeRun({ pool }: Carts, plan: ReplayPlan): Promise<void> {
  const { runId, mode, ruleVersion, pass } = plan;
  await pool.query(
    insertRun({ runId, mode, ruleVersion, source: pass.source, plan: JSON.stringify(formatPlan(plan)) }),
  );
}

/** @throws ArgumentError for an unknown run, naming those that are known */
export async function readRun({ pool }: Carts, runId: string): Promise<RunRecord> {
  const [row]: RunRow[] = await pool.query(readRunRow(runId));
  if (row !== undefined) return parseRun(row);
  const known: { run_id: string }[] = await pool.query(readLatestRuns);
  const valid =
    known.length === 0 ? 'there are no runs yet' : `the latest are ${known.map((run) => run.run_id).join(', ')}`;
  throw new ArgumentError('RUN_ID', `there is no run ${runId} in this carts database; ${valid}`);
}

/** The state of a run; undefined when this database has never heard of it. */
export async function findRunState({ pool }: Carts, runId: string): Promise<RunState | undefined> {
  const [row]: RunRow[] = await pool.query(readRunRow(runId));
  return row?.state;
}

/** Runs that must be resumed or cancelled before another may begin, oldest first. */
export async function readUnfinished({ pool }: Carts): Promise<RunRecord[]> {
  const rows: RunRow[] = await pool.query(readUnfinishedRuns);
  return rows.map(parseRun);
}

/** Everything is in the topic; the sinks have to come to it. */
export async function markPublished({ pool }: Carts, runId: string): Promise<void> {
  await pool.query(updateRunState(runId, 'published', null));
}

/** The end of a run; false when it had ended before. `verdict`: for JSON. */
export async function finishRun(
  { pool }: Carts,
  runId: string,
  state: 'agreed' | 'disagreed' | 'cancelled',
  verdict: unknown,
): Promise<boolean> {
  const rows = await pool.query(updateRunState(runId, state, verdict === null ? null : JSON.stringify(verdict)));
  return rows.length > 0;
}

/** By partition; a partition that no sink has come to has no entry. */
export async function readResults({ pool }: Carts, runId: string, group: string): Promise<Map<number, RunResult>> {
  const rows = await pool.query(readRunResults(runId, group));
  return new Map(
    rows.map((row) => [
      row.partition as number,
      {
        partition: row.partition,
        applied: row.applied,
        already: row.already,
        changed: row.changed,
        parked: row.parked,
        checksum: BigInt(row.checksum),
        end: row.ended_at === null ? null : { count: row.end_count, checksum: BigInt(row.end_checksum) },
        updatedAt: row.updated_at,
      },
    ]),
  );
}

function parseRun(row: RunRow): RunRecord {
  return {
    runId: row.run_id,
    state: row.state,
    plan: parsePlan(JSON.parse(row.plan)),
    createdAt: row.created_at,
    finishedAt: row.finished_at,
    verdict: row.verdict === null ? null : JSON.parse(row.verdict),
  };
}
