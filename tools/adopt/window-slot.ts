// From where on the WAL can be replayed: the confirmed position of the slot that trails behind.
import { type Lsn, parseLsn } from '#schemas/lsn.ts';
import { windowSlotName } from '#schemas/resource-names.ts';
import type { Database } from '#service/database.ts';
import { readSlotState } from '../../cdc-reader/postgres/sql/slots.ts';

/** Null when there is no such slot, or it has been lost. */
export async function readWindowFrom({ pool }: Pick<Database, 'pool'>, slotName: string): Promise<Lsn | null> {
  const [row]: { confirmed_flush_lsn: string | null; wal_status: string | null; invalidation_reason: string | null }[] =
    await pool.query(readSlotState(windowSlotName(slotName)));
  if (row === undefined || row.confirmed_flush_lsn === null) return null;
  return row.wal_status === 'lost' || row.invalidation_reason !== null ? null : parseLsn(row.confirmed_flush_lsn);
}
