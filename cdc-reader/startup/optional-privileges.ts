// What the reader's role may do without, and what each missing privilege costs: a warning at a start, never a reason to wait.
// Pure. The privileges that a start needs are preflight.ts's and postgres/capture.ts's; ops/postgres/roles.sql grants all.
import type { PreflightFacts } from './preflight.ts';

type Facts = Pick<PreflightFacts, 'roleName' | 'mayReadAllStats' | 'mayLogRestartPoints'>;

/** `keepsWindow`: whether a replay window of WAL is kept. */
export function findMissingPrivileges(facts: Facts, { keepsWindow }: { keepsWindow: boolean }): string[] {
  const { roleName } = facts;
  const missing: string[] = [];
  if (!facts.mayReadAllStats) {
    missing.push(
      `The role ${roleName} may not read the state of other roles' sessions: where one holds the slot, or keeps a slot from ` +
        `being made, only its process id can be named. Run GRANT pg_read_all_stats TO ${roleName}.`,
    );
  }
  if (keepsWindow && !facts.mayLogRestartPoints) {
    missing.push(
      `The role ${roleName} may not log restart points: the replay window frees WAL only at those that Postgres logs by ` +
        'itself, every 15 s while there is work, so more than REPLAY_WINDOW_BYTES may be kept. ' +
        `Run GRANT EXECUTE ON FUNCTION pg_log_standby_snapshot() TO ${roleName}.`,
    );
  }
  return missing;
}
