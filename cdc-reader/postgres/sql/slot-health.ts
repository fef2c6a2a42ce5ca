// What a slot costs the server and what may end it, in one statement: it reads only catalogues and settings.
import { type SQLQuery, sql } from '@databases/pg';

/**
 * One row for each of the slots that exists, or one without a slot (`slot_name` is null); the rest is of the server and the
 * database. `idle_replication_slot_timeout` came with Postgres 18, `invalidation_reason` with 17 (`conflicting` with 16).
 */
export function readSlotHealth(slotNames: readonly string[]): SQLQuery {
  return sql`
    SELECT slot.slot_name,
      slot.wal_status,
      slot.confirmed_flush_lsn::text,
      CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END::text AS wal_end,
      slot.safe_wal_size,
      CASE
        WHEN to_jsonb(slot) ->> 'invalidation_reason' IS NOT NULL THEN to_jsonb(slot) ->> 'invalidation_reason'
        WHEN (to_jsonb(slot) ->> 'conflicting')::boolean THEN 'conflict'
      END AS invalidation_reason,
      pg_wal_lsn_diff(
        CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END,
        slot.restart_lsn
      )::bigint AS retained_bytes,
      age(slot.catalog_xmin) AS catalog_xmin_age,
      age(database.datfrozenxid) AS frozen_xid_age,
      (SELECT CASE WHEN setting::bigint >= 0 THEN pg_size_bytes(setting || unit) END
        FROM pg_settings WHERE name = 'max_slot_wal_keep_size') AS max_keep_bytes,
      extract(epoch FROM current_setting('idle_replication_slot_timeout', true)::interval)::bigint AS idle_timeout_seconds
    FROM pg_database AS database
    LEFT JOIN pg_replication_slots AS slot ON slot.slot_name = ANY(${[...slotNames]}::name[])
    WHERE database.datname = current_database()
  `;
}
