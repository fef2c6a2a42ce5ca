import { sql } from '@databases/pg';

/**
 * Where the log ends, written or not: what an earlier snapshot sees has its commit record before it, also with
 * synchronous_commit = off. A standby shows what it has replayed.
 */
export const readWalEnd = sql`
  SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END::text AS wal_end
`;
