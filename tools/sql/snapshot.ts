// Statements of a transaction that reads whole tables from one snapshot.
import { type SQLQuery, sql } from '@databases/pg';

/**
 * The first statement of such a transaction: takes the snapshot, and lifts the time limits of the role, the database and
 * the server. Asking the connection for no limit leaves theirs in force.
 */
export const beginUnbounded = sql`
  SELECT
    set_config('statement_timeout', '0', true),
    set_config('lock_timeout', '0', true),
    set_config('idle_in_transaction_session_timeout', '0', true)
`;

/** The next rows of a cursor; FETCH takes no parameters. */
export function fetchRows(cursor: string, count: number): SQLQuery {
  if (!Number.isSafeInteger(count) || count < 1) throw new RangeError(`${count} is no number of rows to fetch.`);
  return sql`FETCH ${sql.__dangerous__rawValue(String(count))} FROM ${sql.ident(cursor)}`;
}

/**
 * The end of the WAL, written or not: the commit records of everything that an earlier snapshot sees lie before it, also
 * with synchronous_commit = off. On a standby, what it has replayed.
 */
export const readWalEnd = sql`
  SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END::text AS wal_end
`;
