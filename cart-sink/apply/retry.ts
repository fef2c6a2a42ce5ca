/**
 * What passes by itself, and how long to wait before the next try. Pure: randomness is an argument.
 *
 * A fault of the database or of Kafka is retried for ever (I8). What is not known to pass is a defect: trying it
 * again would loop on it, skipping it would lose an order, so it halts (publish, count, or halt).
 */
import { isDatabaseAway } from '#service/database-away.ts';
import { CommitOutcomeUnknownError } from '../errors.ts';

const FIRST_BACK_OFF_MS = 100;
/** Short enough that after an outage of minutes the pipeline is back within seconds. */
const LONGEST_BACK_OFF_MS = 5_000;

/** Before the `attempt`th retry (from 1): doubling up to a cap, a quarter of it random so that sinks spread out. */
export function backOffMs(attempt: number, random: () => number): number {
  const full = Math.min(LONGEST_BACK_OFF_MS, FIRST_BACK_OFF_MS * 2 ** Math.min(attempt - 1, 16));
  return Math.round(full * (0.75 + 0.25 * random()));
}

/** What an error of a database call means. `reason` is a SQLSTATE or a short name, for metrics. */
export type Fault =
  | { readonly kind: 'passing'; readonly reason: string }
  /** A COMMIT was sent and not answered: look before trying again. */
  | { readonly kind: 'outcome-unknown' }
  | { readonly kind: 'defect' };

/**
 * Beside what makes a database "away": rolled back for others' sake (40), failures of its own system (58), and, told
 * only to a new connection, a password that is being changed (28) or a server that does not have the database (3D000),
 * as in the midst of a failover.
 */
const ALSO_PASSING = /^(40...|58...|28...|3D000)$/;

export function judgeFault(error: unknown): Fault {
  if (error instanceof CommitOutcomeUnknownError) return { kind: 'outcome-unknown' };
  const sqlState = findSqlState(error);
  const passes = isDatabaseAway(error) || (sqlState !== undefined && ALSO_PASSING.test(sqlState));
  return passes ? { kind: 'passing', reason: sqlState ?? 'database-away' } : { kind: 'defect' };
}

/** A statement or transaction ran into its time limit: a smaller one may pass where the same one never would. */
export function isTimeLimit(reason: string): boolean {
  return reason === '57014' || reason === '25P04';
}

/** The SQLSTATE of an error or of the nearest of its causes that has one. */
function findSqlState(error: unknown): string | undefined {
  for (let current = error; current instanceof Error; current = current.cause) {
    const { code } = current as { code?: unknown };
    if (typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code)) return code;
  }
  return undefined;
}
