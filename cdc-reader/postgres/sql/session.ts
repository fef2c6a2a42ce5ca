// The settings of a session before its first use, and the server's facts about itself.
import { type SQLQuery, sql } from '@databases/pg';
import { NO_LIMITS, type SessionSettings, sessionSettings } from '#service/postgres/session.ts';

/**
 * What the reader's sessions need beyond the settings of every session. Names of tables are qualified here, and catalogues
 * must be found whatever is called like them. A long read or an idle moment between two statements ends nothing.
 * `statementTimeoutMs`: 0 is no limit.
 */
export function readerSettings(statementTimeoutMs: number): SessionSettings {
  return sessionSettings({ ...NO_LIMITS, statementTimeoutMs }, { search_path: 'pg_catalog' });
}

/**
 * The server notices within half a minute (10 + 3 × 5 s) that a session's client is gone without closing, and releases its
 * advisory lock: by the system's defaults an interrupted initial snapshot would hold up the next one for two hours.
 */
export const KEEPALIVES: SessionSettings = {
  tcp_keepalives_idle: '10',
  tcp_keepalives_interval: '5',
  tcp_keepalives_count: '3',
  tcp_user_timeout: '25000',
};

/** As Postgres names exported snapshots; checked, because this command takes no parameters. */
const SNAPSHOT_NAME = /^[0-9A-Fa-f-]{1,64}$/;

/** Makes the transaction see what the exported snapshot saw. Its first statement. */
export function setSnapshot(snapshotName: string): SQLQuery {
  if (!SNAPSHOT_NAME.test(snapshotName)) throw new RangeError(`${JSON.stringify(snapshotName)} is no snapshot name.`);
  return sql`SET TRANSACTION SNAPSHOT ${sql.__dangerous__rawValue(`'${snapshotName}'`)}`;
}

/**
 * What decides whether this server and role can feed the reader. Some services grant replication by membership in a
 * role of their own (`rds_replication`) instead of the attribute.
 */
export const readServerFacts = sql`
  SELECT current_setting('server_version_num')::int AS server_version,
    current_setting('server_version') AS server_version_name,
    current_setting('wal_level') AS wal_level,
    pg_is_in_recovery() AS in_recovery,
    current_user::text AS role_name,
    (
      SELECT role.rolsuper OR role.rolreplication OR EXISTS (
        SELECT FROM pg_roles AS granted
        WHERE granted.rolname = 'rds_replication' AND pg_has_role(role.oid, granted.oid, 'MEMBER')
      )
      FROM pg_roles AS role
      WHERE role.rolname = current_user
    ) AS may_replicate,
    pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') AS may_read_all_stats,
    coalesce(has_function_privilege(to_regprocedure('pg_log_standby_snapshot()')::oid, 'EXECUTE'), true)
      AS may_log_restart_points,
    current_setting('max_replication_slots')::int AS slots_allowed,
    (SELECT count(*)::int FROM pg_replication_slots) AS slots_used,
    current_setting('max_wal_senders')::int AS wal_senders_allowed,
    (SELECT count(*)::int FROM pg_stat_replication) AS wal_senders_used,
    current_setting('synchronous_standby_names') AS synchronous_standby_names,
    current_setting('server_encoding') AS encoding,
    (
      SELECT database.encoding = pg_char_to_encoding('UTF8') OR EXISTS (
        SELECT FROM pg_conversion AS conversion
        WHERE conversion.condefault AND conversion.conforencoding = database.encoding
          AND conversion.contoencoding = pg_char_to_encoding('UTF8')
      )
      FROM pg_database AS database
      WHERE database.datname = current_database()
    ) AS converts_to_utf8
`;

/** The end of the server's WAL; a standby's is what it has replayed, and its file names have no timeline. */
export const readCurrentWal = sql`
  SELECT pg_is_in_recovery() AS in_recovery,
    CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END::text AS flush_lsn,
    CASE
      WHEN NOT pg_is_in_recovery()
      THEN ('x' || left(pg_walfile_name(pg_current_wal_flush_lsn()), 8))::bit(32)::bigint
    END AS timeline
`;

export const readSnapshotText = sql`SELECT pg_current_snapshot()::text AS snapshot`;

/** Takes the lock named by `key` for as long as the session lasts, or returns false when another session has it. */
export function tryAdvisoryLock(key: string): SQLQuery {
  return sql`SELECT pg_try_advisory_lock(hashtextextended(${key}, 0)) AS is_taken`;
}
