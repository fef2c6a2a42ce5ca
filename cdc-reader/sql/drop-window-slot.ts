import { type SQLQuery, sql } from '@databases/pg';

export function dropWindowSlot(slotName: string): SQLQuery {
  return sql`SELECT pg_drop_replication_slot(${slotName}::name)`;
}
