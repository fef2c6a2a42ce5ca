import { type SQLQuery, sql } from '@databases/pg';

/**
 * The state of one logical slot, or no row. Columns that came after Postgres 14 are taken from the row as JSON, where a
 * missing one is NULL: `conflicting` with 16, `invalidation_reason`, `failover` and `synced` with 17.
 */
export function readSlotState(slotName: string): SQLQuery {
  return sql`
    SELECT slot.plugin,
      slot.database,
      slot.active,
      slot.active_pid,
      slot.confirmed_flush_lsn::text,
      slot.restart_lsn::text,
      slot.wal_status,
      slot.temporary,
      CASE
        WHEN to_jsonb(slot) ->> 'invalidation_reason' IS NOT NULL THEN to_jsonb(slot) ->> 'invalidation_reason'
        WHEN (to_jsonb(slot) ->> 'conflicting')::boolean THEN 'conflict'
      END AS invalidation_reason,
      coalesce((to_jsonb(slot) ->> 'failover')::boolean, false) AS failover,
      coalesce((to_jsonb(slot) ->> 'synced')::boolean, false) AS synced,
      pg_wal_lsn_diff(
        CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END,
        slot.restart_lsn
      )::bigint AS retained_bytes
    FROM pg_replication_slots AS slot
    WHERE slot.slot_name = ${slotName}
  `;
}
