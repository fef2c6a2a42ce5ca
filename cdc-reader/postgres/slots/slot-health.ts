// The health of the reader's slots, read over a connection of its own that is closed at once: also while the reader has
// halted, stands by or waits, when it has no session. What follows from it is slot-risks.ts's and the metrics'.

import { type Lsn, parseLsn } from '#schemas/lsn.ts';
import type { DatabaseServer } from '#service/postgres/database-server.ts';
import { SingleConnection, STATEMENT_TIMEOUT_MS } from '../single-connection.ts';
import { readerSettings } from '../sql/session.ts';
import { readSlotHealth } from '../sql/slot-health.ts';

export interface SlotHealth {
  readonly confirmedFlushLsn: Lsn | null;
  /** `reserved`, `extended`, `unreserved` or `lost`; null before the slot reserves anything. */
  readonly walStatus: string | null;
  /** Bytes of WAL that can still be written before the slot is in danger; null without a limit, and when it is lost. */
  readonly safeBytes: bigint | null;
  /** Why Postgres invalidated it; null while it is valid, and before Postgres 16. */
  readonly invalidationReason: string | null;
  readonly retainedBytes: bigint | null;
  /** Transactions since the oldest one whose catalogue rows the slot keeps from vacuum. */
  readonly catalogXminAge: number | null;
}

export interface SlotsHealth {
  /** The end of the server's WAL; of a standby, what it has replayed. */
  readonly walEnd: Lsn;
  /** Slots that do not exist are missing. */
  readonly slots: ReadonlyMap<string, SlotHealth>;
  /** `max_slot_wal_keep_size`; null is no limit. */
  readonly maxKeepBytes: bigint | null;
  /** `idle_replication_slot_timeout`; 0 is no limit, null a server that has no such setting. */
  readonly idleTimeoutSeconds: bigint | null;
  /** Age of the database's `datfrozenxid` in transactions. */
  readonly frozenXidAge: number;
}

/** @throws errors of Postgres or the network */
export async function readSlotsHealth(options: {
  postgres: DatabaseServer;
  applicationName: string;
  slotNames: readonly string[];
}): Promise<SlotsHealth> {
  const { postgres, applicationName, slotNames } = options;
  const connection = new SingleConnection({ postgres, applicationName, onEnd: () => undefined });
  try {
    await connection.prepare(readerSettings(STATEMENT_TIMEOUT_MS));
    const rows = await connection.query(readSlotHealth(slotNames));
    const [server] = rows;
    return {
      slots: new Map(rows.flatMap((row) => (row.slot_name === null ? [] : [[row.slot_name as string, parse(row)]]))),
      walEnd: parseLsn(server!.wal_end as string),
      maxKeepBytes: server!.max_keep_bytes as bigint | null,
      idleTimeoutSeconds: server!.idle_timeout_seconds as bigint | null,
      frozenXidAge: server!.frozen_xid_age as number,
    };
  } finally {
    await connection.close();
  }
}

function parse(row: Record<string, unknown>): SlotHealth {
  const confirmed = row.confirmed_flush_lsn as string | null;
  return {
    confirmedFlushLsn: confirmed === null ? null : parseLsn(confirmed),
    walStatus: row.wal_status as string | null,
    safeBytes: row.safe_wal_size as bigint | null,
    invalidationReason: row.invalidation_reason as string | null,
    retainedBytes: row.retained_bytes as bigint | null,
    catalogXminAge: row.catalog_xmin_age as number | null,
  };
}
