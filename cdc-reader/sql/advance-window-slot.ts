import { type SQLQuery, sql } from '@databases/pg';

/** `toLsn` as X/Y text, at or after the slot's confirmed position; reads the WAL in between. */
export function advanceWindowSlot(slotName: string, toLsn: string): SQLQuery {
  return sql`SELECT pg_replication_slot_advance(${slotName}::name, ${toLsn}::pg_lsn)`;
}
