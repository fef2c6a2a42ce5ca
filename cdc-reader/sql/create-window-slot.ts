import { type SQLQuery, sql } from '@databases/pg';

/** From 17 on (`serverVersion` as `server_version_num`) a failover slot, as the live one. Waits for running transactions. */
export function createWindowSlot(slotName: string, serverVersion: number): SQLQuery {
  if (serverVersion < 170_000) return sql`SELECT pg_create_logical_replication_slot(${slotName}::name, 'pgoutput')`;
  return sql`SELECT pg_create_logical_replication_slot(${slotName}::name, 'pgoutput', failover => true)`;
}
