// The settings of a session before its first use, and the server's facts about itself.
import { type SQLQuery, sql } from '@databases/pg';

const PINNED: Readonly<Record<string, string>> = {
  // Values have one text form: ISO dates in UTC, UTF-8.
  DateStyle: 'ISO, MDY',
  IntervalStyle: 'postgres',
  TimeZone: 'UTC',
  client_encoding: 'UTF8',
  bytea_output: 'hex',
  extra_float_digits: '1',
  standard_conforming_strings: 'on',
  quote_all_identifiers: 'off',
  search_path: 'pg_catalog',
  // A read that a policy would filter is an error, never a shorter answer.
  row_security: 'off',
  // A long read or an idle moment between two statements ends nothing; statement_timeout is the caller's.
  lock_timeout: '0',
  idle_in_transaction_session_timeout: '0',
  idle_session_timeout: '0',
  transaction_timeout: '0', // since Postgres 17
};

/**
 * Pins this session's settings. `statementTimeoutMs`: 0 is no limit. A setting that this server version does not have is
 * passed over. Gives one row a setting.
 */
export function pinSession(statementTimeoutMs: number): SQLQuery {
  const settings = { ...PINNED, statement_timeout: String(Math.trunc(statementTimeoutMs)) };
  return sql`
    SELECT set_config(pinned.name, pinned.value, false)
    FROM json_each_text(${JSON.stringify(settings)}::json) AS pinned (name, value)
    WHERE current_setting(pinned.name, true) IS NOT NULL
  `;
}

/**
 * The server notices within half a minute (10 + 3 × 5 s) that this session's client is gone without closing, and releases
 * its advisory lock: by the system's defaults an interrupted initial snapshot would hold up the next one for two hours.
 */
export const setKeepalives = sql`
  SELECT set_config('tcp_keepalives_idle', '10', false),
    set_config('tcp_keepalives_interval', '5', false),
    set_config('tcp_keepalives_count', '3', false),
    set_config('tcp_user_timeout', '25000', false)
`;

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
    current_setting('max_replication_slots')::int AS slots_allowed,
    (SELECT count(*)::int FROM pg_replication_slots) AS slots_used,
    current_setting('max_wal_senders')::int AS wal_senders_allowed,
    (SELECT count(*)::int FROM pg_stat_replication) AS wal_senders_used,
    current_setting('synchronous_standby_names') AS synchronous_standby_names
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

/** Takes the lock named by `key` for as long as the session lasts, or returns false when another session has it. */
export function tryAdvisoryLock(key: string): SQLQuery {
  return sql`SELECT pg_try_advisory_lock(hashtextextended(${key}, 0)) AS is_taken`;
}
