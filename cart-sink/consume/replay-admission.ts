/**
 * Whether a run of the replay tool may be applied by this sink, and the log of what has to wait.
 *
 * A run recomputes effects under the rule that its tool was built with. A sink with another version would compute
 * others, so it leaves the run alone until a sink with that version takes the partition over, or until an operator
 * cancels the run: then its records are passed over. Never a halt: the live topic goes on.
 */
import type { ConnectionPool } from '@databases/pg';
import type { ReplayStamp } from '../replay-records.ts';
import { readRunState } from '../sql/read-run-state.ts';

/** hold: leave it for now, and look again. pass-over: consume it without effect. */
export type ReplayJudge = (stamp: ReplayStamp, signal: AbortSignal) => Promise<ReplayVerdict>;

export type ReplayVerdict = 'apply' | 'hold' | 'pass-over';

/** Between two looks at a partition that is held. */
export const HOLD_LOOK_EVERY_MS = 2_000;

/** Whether an operator has cancelled a run; a run that the tool has not stored is not cancelled. */
export async function readCancelled(pool: ConnectionPool, runId: string): Promise<boolean> {
  const [run]: { state: string }[] = await pool.query(readRunState(runId));
  return run?.state === 'cancelled';
}

/** `isCancelled` asks the carts database, and is asked only about runs of another version. */
export function createReplayJudge(
  ruleVersion: number,
  isCancelled: (runId: string, signal: AbortSignal) => Promise<boolean>,
): ReplayJudge {
  /** Nobody takes a cancellation back. */
  const cancelled = new Set<string>();
  return async ({ runId, ruleVersion: wanted }, signal) => {
    if (wanted === ruleVersion) return 'apply';
    if (cancelled.has(runId)) return 'pass-over';
    if (!(await isCancelled(runId, signal))) return 'hold';
    cancelled.add(runId);
    return 'pass-over';
  };
}
