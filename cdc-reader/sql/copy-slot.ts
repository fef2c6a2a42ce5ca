import { type SQLQuery, sql } from '@databases/pg';

/** A temporary slot that stands where the other one stands, for as long as this connection lasts. */
export function copySlot(sourceName: string, slotName: string): SQLQuery {
  return sql`SELECT pg_copy_logical_replication_slot(${sourceName}::name, ${slotName}::name, true)`;
}
