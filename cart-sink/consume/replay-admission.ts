/**
 * Decides whether this sink applies the records of a replay run.
 *
 * A run recomputes effects under the rule that its tool was built with. A sink with another version of the rule would
 * compute other effects, so it pauses the partition until a sink with that version takes it over, or an operator
 * cancels the run: then the records are skipped. This never halts: the live topic goes on.
 */
import type { ConnectionPool } from '@databases/pg';
import type { ReplayStamp } from '#schemas/replay/records.ts';
import { readRunState } from '../sql/replay-runs.ts';

type Admission = 'apply' | 'pause' | 'skip';

export type AdmitReplay = (replay: ReplayStamp, signal: AbortSignal) => Promise<Admission>;

/** Whether an operator has cancelled a run; a run that the tool has not stored is not cancelled. */
export async function readCancelled(pool: ConnectionPool, runId: string): Promise<boolean> {
  const [run]: { state: string }[] = await pool.query(readRunState(runId));
  return run?.state === 'cancelled';
}

/** `isCancelled` queries the carts database, and is called only for runs of another version. */
export function createReplayAdmission(
  ruleVersion: number,
  isCancelled: (runId: string, signal: AbortSignal) => Promise<boolean>,
): AdmitReplay {
  /** A cancellation is final. */
  const cancelled = new Set<string>();
  return async (replay, signal) => {
    const { runId } = replay;
    if (replay.ruleVersion === ruleVersion) return 'apply';
    if (cancelled.has(runId)) return 'skip';
    if (!(await isCancelled(runId, signal))) return 'pause';
    cancelled.add(runId);
    return 'skip';
  };
}
