import { sql } from '@databases/pg';

/** Where the server's log ends; a standby's is what it has replayed, and its file names tell no timeline. */
export const readCurrentWal = sql`
  SELECT pg_is_in_recovery() AS in_recovery,
    CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END::text AS flush_lsn,
    CASE
      WHEN NOT pg_is_in_recovery()
      THEN ('x' || left(pg_walfile_name(pg_current_wal_flush_lsn()), 8))::bit(32)::bigint
    END AS timeline
`;
