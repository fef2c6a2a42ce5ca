import { type SQLQuery, sql } from '@databases/pg';

/**
 * One row: the window slot (`plugin` is null when there is none), where the live slot and the log stand at the same
 * moment, and whether this role may ask for restart points, which Postgres can be asked for from 16 on.
 */
export function readWindowFacts(liveSlotName: string, windowSlotName: string): SQLQuery {
  return sql`
    SELECT pg_current_wal_flush_lsn()::text AS flush_lsn,
      live.restart_lsn::text AS live_restart_lsn,
      slot.plugin,
      slot.restart_lsn::text,
      slot.confirmed_flush_lsn::text,
      slot.wal_status = 'lost' OR to_jsonb(slot) ->> 'invalidation_reason' IS NOT NULL
        OR coalesce((to_jsonb(slot) ->> 'conflicting')::boolean, false) AS is_lost,
      slot.plugin IS DISTINCT FROM 'pgoutput' OR slot.database IS DISTINCT FROM current_database() AS is_foreign,
      coalesce(has_function_privilege(to_regprocedure('pg_log_standby_snapshot()')::oid, 'EXECUTE'), false)
        AS may_log_restart_point
    FROM (SELECT) AS one_row
    LEFT JOIN pg_replication_slots AS live ON live.slot_name = ${liveSlotName}::name
    LEFT JOIN pg_replication_slots AS slot ON slot.slot_name = ${windowSlotName}::name
  `;
}
