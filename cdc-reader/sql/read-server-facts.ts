import { sql } from '@databases/pg';

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
