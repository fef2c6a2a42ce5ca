/**
 * Decides whether this sink applies the records of a replay run.
 *
 * A run recomputes effects under the rule that its tool was built with. A sink with another version of the rule would
 * compute other effects, so it pauses the partition until a sink with that version takes it over, or an operator
 * cancels the run: then the records are skipped. A run that `replay_runs` does not know was planned on carts that are no
 * longer these: the tool stores each run before its first record, so the database was restored to before it. It is paused
 * until an operator passes it over. This never halts: the live topic goes on.
 */
import type { ConnectionPool } from '@databases/pg';
import type { ReplayStamp } from '#schemas/replay/records.ts';
import { RULE_VERSION } from '../rule/reduce-cart.ts';
import { readRunState } from '../sql/replay-runs.ts';

/** Why a run is not applied, and who may change that. */
type HeldBecause = 'other-rule' | 'unknown-run';

export interface HeldRun extends ReplayStamp {
  readonly why: HeldBecause;
}

/** Why a run is held, and the command that ends it. */
export function explainHeld({ runId, ruleVersion, why }: HeldRun): string {
  return why === 'unknown-run'
    ? `Paused the replay run ${runId}, which this carts database does not know: it was restored to before the run. Pass it ` +
        `over: npm run replay -- pass-over ${runId}. The live topic continues.`
    : `Paused a replay run: it was planned with version ${ruleVersion} of the rule, this sink has version ` +
        `${RULE_VERSION}. Deploy sinks with version ${ruleVersion}, or cancel the run: npm run replay -- cancel ${runId}. ` +
        'The live topic continues.';
}

type Admission = 'apply' | 'skip' | HeldBecause;

export type AdmitReplay = (replay: ReplayStamp, signal: AbortSignal) => Promise<Admission>;

export interface RunState {
  readonly state: string;
  readonly is_passed_over: boolean;
}

/** What the carts database knows of a run; undefined if nothing. */
export async function readRun(pool: ConnectionPool, runId: string): Promise<RunState | undefined> {
  const [run]: RunState[] = await pool.query(readRunState(runId));
  return run;
}

/** `findRun` queries the carts database: for each batch, since a restore may take away what was known. */
export function createReplayAdmission(
  ruleVersion: number,
  findRun: (runId: string, signal: AbortSignal) => Promise<RunState | undefined>,
): AdmitReplay {
  return async (replay, signal) => {
    const run = await findRun(replay.runId, signal);
    if (run === undefined) return 'unknown-run';
    if (run.is_passed_over) return 'skip';
    if (replay.ruleVersion === ruleVersion) return 'apply';
    return run.state === 'cancelled' ? 'skip' : 'other-rule';
  };
}
