// Replication slots: the state of one, the copy that a replay streams, and the window slot that trails behind the live one.
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
      (SELECT sent_lsn::text FROM pg_stat_replication AS sender WHERE sender.pid = slot.active_pid) AS sent_lsn,
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

/** What a reader has acknowledged by its slot (null: there is none), whether it streams, and the end of the WAL; one row. */
export function readAcknowledged(slotName: string): SQLQuery {
  return sql`
    SELECT max(confirmed_flush_lsn)::text AS acknowledged, coalesce(bool_or(active), false) AS active,
      CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END::text AS wal_end
    FROM pg_replication_slots WHERE slot_name = ${slotName}
  `;
}

/** Who a server process works for: NULL where this role may not read it. */
export function describeBackend(pid: string): SQLQuery {
  return sql`
    SELECT 'application_name ' || nullif(application_name, '') AS application,
      'address ' || host(client_addr) AS address,
      'since ' || to_char(backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS since
    FROM pg_stat_activity
    WHERE pid = ${pid}::int
  `;
}

/**
 * The transactions that the server process `pid` waits for, one row each; `pid` is null for a prepared one. State and time
 * are null where this role may not read them.
 */
export function readTransactionHolders(pid: number): SQLQuery {
  return sql`
    SELECT activity.pid, activity.application_name AS what, activity.datname::text AS database, activity.state,
      to_char(activity.xact_start AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS since
    FROM pg_stat_activity AS activity
    WHERE activity.pid = ANY(pg_blocking_pids(${pid}::int))
    UNION ALL
    SELECT NULL, prepared.gid, prepared.database::text, 'prepared',
      to_char(prepared.prepared AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
    FROM pg_prepared_xacts AS prepared
    JOIN pg_locks AS awaited ON awaited.transactionid = prepared.transaction
    WHERE awaited.pid = ${pid}::int AND NOT awaited.granted
    ORDER BY since
  `;
}

/** Who holds the lock that tryAdvisoryLock() takes, as describeBackend() has it, with its pid. */
export function describeLockHolder(key: string): SQLQuery {
  return sql`
    SELECT 'pid ' || lock.pid AS pid,
      'application_name ' || nullif(activity.application_name, '') AS application,
      'address ' || host(activity.client_addr) AS address,
      'since ' || to_char(activity.backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS since
    FROM pg_locks AS lock
    LEFT JOIN pg_stat_activity AS activity ON activity.pid = lock.pid
    WHERE lock.locktype = 'advisory' AND lock.granted AND lock.objsubid = 1
      AND lock.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND lock.classid::bigint = (hashtextextended(${key}, 0) >> 32) & 4294967295
      AND lock.objid::bigint = hashtextextended(${key}, 0) & 4294967295
  `;
}

/**
 * Ends the server process that creates this slot and waits; the server then drops the unfinished slot. A slot that has a
 * position is left alone. @returns the pid, or no row
 */
export function endUnfinishedSlot(slotName: string): SQLQuery {
  return sql`
    SELECT slot.active_pid AS pid, pg_terminate_backend(slot.active_pid) AS is_ended
    FROM pg_replication_slots AS slot
    WHERE slot.slot_name = ${slotName} AND slot.active AND slot.confirmed_flush_lsn IS NULL
  `;
}

/** A temporary slot at the position of the other one, for as long as this connection lasts. */
export function copySlot(sourceName: string, slotName: string): SQLQuery {
  return sql`SELECT pg_copy_logical_replication_slot(${sourceName}::name, ${slotName}::name, true)`;
}

/**
 * One row: the window slot (`plugin` is null when there is none), where the live slot and the log stand at the same
 * moment, and whether this role may log restart points, which Postgres has a function for from 16 on.
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
      CASE
        WHEN to_jsonb(slot) ->> 'invalidation_reason' IS NOT NULL THEN to_jsonb(slot) ->> 'invalidation_reason'
        WHEN (to_jsonb(slot) ->> 'conflicting')::boolean THEN 'conflict'
      END AS lost_reason,
      slot.plugin IS DISTINCT FROM 'pgoutput' OR slot.database IS DISTINCT FROM current_database() AS is_foreign,
      coalesce(has_function_privilege(to_regprocedure('pg_log_standby_snapshot()')::oid, 'EXECUTE'), false)
        AS may_log_restart_point
    FROM (SELECT) AS one_row
    LEFT JOIN pg_replication_slots AS live ON live.slot_name = ${liveSlotName}::name
    LEFT JOIN pg_replication_slots AS slot ON slot.slot_name = ${windowSlotName}::name
  `;
}

/** From 17 on (`serverVersion` as `server_version_num`) a failover slot, as the live one. Waits for running transactions. */
export function createWindowSlot(slotName: string, serverVersion: number): SQLQuery {
  if (serverVersion < 170_000) return sql`SELECT pg_create_logical_replication_slot(${slotName}::name, 'pgoutput')`;
  return sql`SELECT pg_create_logical_replication_slot(${slotName}::name, 'pgoutput', failover => true)`;
}

/** `toLsn` as X/Y text, at or after the slot's confirmed position; reads the WAL in between. */
export function advanceWindowSlot(slotName: string, toLsn: string): SQLQuery {
  return sql`SELECT pg_replication_slot_advance(${slotName}::name, ${toLsn}::pg_lsn)`;
}

export function dropWindowSlot(slotName: string): SQLQuery {
  return sql`SELECT pg_drop_replication_slot(${slotName}::name)`;
}

/** A running-xacts record, which the server writes by itself every 15 seconds: slots release WAL up to one. */
export const logRestartPoint = sql`SELECT pg_log_standby_snapshot()`;
