// SLOT_LOST: Postgres has invalidated the slot, and what it had not yet sent can't be decoded any more (I11). One class for
// whoever finds it: the start of a stream, or the comparison with the checkpoint. The remedy follows from Postgres's reason.
import { formatLsn, type Lsn } from '#schemas/lsn.ts';
import { HaltError } from '#service/halt.ts';

const WAL_REMOVED =
  'its WAL was removed, because the slot kept more than max_slot_wal_keep_size allows. To keep it from happening again, run ' +
  "ALTER SYSTEM SET max_slot_wal_keep_size = '…' (the longest outage and REPLAY_WINDOW_BYTES; -1 is no limit) and SELECT pg_reload_conf().";
const ON_A_STANDBY =
  'Orders are read from the primary: point ORDER_DATABASE_URL at it. A standby that is to take over with the slot needs ' +
  "hot_standby_feedback = on, a physical slot (primary_slot_name) and sync_replication_slots = on: run ALTER SYSTEM SET hot_standby_feedback = 'on' on it and SELECT pg_reload_conf().";
const WAL_LEVEL = "Run ALTER SYSTEM SET wal_level = 'logical' on the primary and restart it.";

/** By `invalidation_reason` of pg_replication_slots, from Postgres 17 on; `conflict` stands for Postgres 16's flag. */
const WHY: Readonly<Record<string, string>> = {
  wal_removed: WAL_REMOVED,
  idle_timeout:
    'nobody used the slot for longer than idle_replication_slot_timeout. To keep it from happening again, run ' +
    'ALTER SYSTEM SET idle_replication_slot_timeout = 0 and SELECT pg_reload_conf().',
  rows_removed: `catalogue rows that the slot needed were vacuumed away; only a standby does that, for its primary. ${ON_A_STANDBY}`,
  wal_level_insufficient: `the primary's wal_level was lowered below logical while this server was a standby. ${WAL_LEVEL}`,
  'no position': 'its creation did not end, so it never got a position.',
  conflict: `it conflicted with recovery on a standby: rows were vacuumed, or wal_level was lowered. ${ON_A_STANDBY} ${WAL_LEVEL}`,
};

export class SlotLostError extends HaltError {
  readonly code = 'SLOT_LOST';

  /** `what`: acknowledged, before the checkpoint is read; more may be published. `reason`: null before Postgres 16. */
  constructor(
    slotName: string,
    found: { reason: string | null; what: 'published' | 'acknowledged'; throughLsn: Lsn; flushLsn: Lsn },
    options?: ErrorOptions,
  ) {
    const { what, throughLsn, flushLsn } = found;
    const reason = found.reason ?? 'wal_removed';
    const why = WHY[reason] ?? 'read what the server logged about it.';
    super(
      `${reason === 'no position' ? 'Nothing can be read through the slot' : 'Postgres invalidated the slot'} ${slotName} (${reason}): ${why} WAL from ${formatLsn(throughLsn)} (everything before was ${what}) ` +
        `to ${formatLsn(flushLsn)} can't be read through it; orders committed there may be unpublished. If the gap is accepted: run ` +
        '`npm run adopt -- reader`, which shows both positions, creates a new slot and checkpoint and prints the replay command ' +
        'that closes the gap; then start the reader again.',
      { throughLsn: formatLsn(throughLsn), flushLsn: formatLsn(flushLsn), reason },
      options,
    );
  }
}
