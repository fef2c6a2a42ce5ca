// The runs as the carts database stores them: plan, state and verdict. The tool writes replay_runs, the sinks write
// replay_results. Guarantees: one run at a time, by a lock of the session; a run gets one verdict. How much is published is
// not stored here: the progress records in Kafka have it.
import { formatPlan, parsePlan, type ReplayPlan } from '#schemas/replay/plan.ts';
import type { ReplayTally } from '#schemas/replay/records.ts';
import type { Database } from '#service/database.ts';
import { ArgumentError, RunBusyError } from '../cli/errors.ts';
import {
  insertPassedOverRun,
  insertRun,
  readLatestRuns,
  readRunResults,
  readRunRow,
  readUnfinishedRuns,
  releaseRunLock,
  tryRunLock,
  updateRunState,
} from '../sql/replay-runs.ts';

type RunState = 'publishing' | 'published' | 'agreed' | 'disagreed' | 'cancelled';

export interface RunRecord {
  readonly runId: string;
  readonly state: RunState;
  readonly plan: ReplayPlan;
  readonly createdAt: Date;
  readonly finishedAt: Date | null;
}

/** What the sinks have done with a run in one partition. */
export interface RunResult {
  readonly partition: number;
  readonly applied: bigint;
  readonly already: bigint;
  readonly changed: bigint;
  readonly parked: bigint;
  readonly checksum: bigint;
  /** What the run's end record reports; null before the sink has applied it. */
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
}

/** Runs `work` while no other process publishes to this topic. @throws RunBusyError */
export function withRunLock<T>({ pool }: Carts, replayTopic: string, work: () => Promise<T>): Promise<T> {
  return pool.task(async (session) => {
    const [row] = await session.query(tryRunLock(replayTopic));
    if (!row.is_taken) {
      throw new RunBusyError(
        `another process is publishing to ${replayTopic}: one run at a time; wait for it, or stop it there`,
      );
    }
    try {
      return await work();
    } finally {
      await session.query(releaseRunLock(replayTopic)).catch(() => undefined); // a lost session has lost the lock
    }
  });
}

/** Stores a run before its first record is published; one that is stored already stays as it is. */
export async function storeRun({ pool }: Carts, plan: ReplayPlan): Promise<void> {
  await pool.query(insertRun(rowOf(plan)));
}

/** Stores a run that no sink shall apply; false if it is stored already. */
export async function storePassedOver({ pool }: Carts, plan: ReplayPlan): Promise<boolean> {
  return (await pool.query(insertPassedOverRun(rowOf(plan)))).length > 0;
}

function rowOf(plan: ReplayPlan): Parameters<typeof insertRun>[0] {
  const { runId, mode, ruleVersion, pass } = plan;
  return { runId, mode, ruleVersion, source: pass.source, plan: JSON.stringify(formatPlan(plan)) };
}

/** @throws ArgumentError for an unknown run, with the ids of the latest ones */
export async function readRun(carts: Carts, runId: string): Promise<RunRecord> {
  const run = await findRun(carts, runId);
  if (run !== undefined) return run;
  const known: { run_id: string }[] = await carts.pool.query(readLatestRuns);
  const valid =
    known.length === 0 ? 'there are no runs yet' : `the latest are ${known.map(({ run_id }) => run_id).join(', ')}`;
  throw new ArgumentError(
    'RUN_ID',
    `there is no run ${runId} in this carts database; ${valid}. If the sinks hold it (sink.replay-held), this database was ` +
      `restored to before the run: npm run replay -- pass-over ${runId}`,
  );
}

export async function findRun({ pool }: Carts, runId: string): Promise<RunRecord | undefined> {
  const [row]: RunRow[] = await pool.query(readRunRow(runId));
  return row && parseRun(row);
}

/** Runs that must be resumed or cancelled before another may begin, oldest first. */
export async function readUnfinished({ pool }: Carts): Promise<RunRecord[]> {
  const rows: RunRow[] = await pool.query(readUnfinishedRuns);
  return rows.map(parseRun);
}

/** Everything is in the topic, and not yet applied. */
export async function markPublished({ pool }: Carts, runId: string): Promise<void> {
  await pool.query(updateRunState(runId, 'published', null));
}

/** Ends a run, unless it has ended before. `verdict`: for JSON. */
export async function finishRun(
  { pool }: Carts,
  runId: string,
  state: 'agreed' | 'disagreed' | 'cancelled',
  verdict: unknown,
): Promise<void> {
  await pool.query(updateRunState(runId, state, verdict === null ? null : JSON.stringify(verdict)));
}

/** By partition; one in which no sink has applied a record of the run has no entry. */
export async function readResults({ pool }: Carts, runId: string, group: string): Promise<Map<number, RunResult>> {
  const rows = await pool.query(readRunResults(runId, group));
  return new Map(
    rows.map(({ partition, applied, already, changed, parked, ...row }) => [
      partition as number,
      {
        partition,
        applied,
        already,
        changed,
        parked,
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
  };
}
