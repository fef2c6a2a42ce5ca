// Every reason for which the reader halts over continuity (I11). Each carries a literal code, both positions where there are
// two, and the remedy. Transactions that can't be published: encode/unpublishable-errors.ts; starts: supervise/restart-errors.ts;
// a slot that Postgres invalidated: postgres/slots/slot-lost.ts.
import type { CaptureDifference } from '#schemas/capture-fingerprint.ts';
import { formatLsn, LSN_ZERO, type Lsn } from '#schemas/lsn.ts';
import { HaltError } from '#service/halt.ts';

/** The remedy for a proven or possible gap that a start of the reader finds. */
const ADOPT =
  'If the gap is accepted: run `npm run adopt -- reader`, which shows both positions, creates a new slot and checkpoint and ' +
  'prints the replay command that closes the gap; then start the reader again.';

/** The remedy where the captured tables changed. The order matters: adopt refuses while orders are left. */
const UNDO_CHANGE =
  'Undo it, unless it is undone by now: put the captured tables back under their names, give a column its name and type back, ' +
  'drop a rule on INSERT or a child, SET LOGGED. Copy into them what was inserted into other tables, orders and items, in a ' +
  'session with `SET session_replication_role = replica`. Then run `npm run adopt -- reader` (with --force if it finds nothing ' +
  'wrong any more), restart the reader, and run `npm run replay -- --source tables` and `npm run audit`.';

/** Nothing of the old slot and topic compares with the new source: the initial snapshot publishes all, the ledger skips. */
const NEW_NAMES =
  'let the sinks drain the present topic, then set ORDERS_TOPIC to a new name for reader, sinks and tools and SLOT_NAME for reader ' +
  'and tools, and start them: `ORDERS_TOPIC=NEW_TOPIC SLOT_NAME=NEW_SLOT npm run cdc-reader`, `ORDERS_TOPIC=NEW_TOPIC npm run ' +
  'cart-sink`. The initial snapshot publishes every order, and the ledger skips what was applied.';

function positions(found: Record<string, string | number | bigint>): Record<string, string> {
  return Object.fromEntries(Object.entries(found).map(([name, value]) => [name, String(value)]));
}

function lsns(found: Record<string, Lsn>): Record<string, string> {
  return Object.fromEntries(Object.entries(found).map(([name, value]) => [name, formatLsn(value)]));
}

/** A row that is not of the captured table that it seems to be of. Nothing received since the last check is published. */
export class RowRefusedError extends HaltError {
  readonly code = 'TABLES_CHANGED';
  constructor(what: string, commitLsn: Lsn) {
    super(
      `The transaction at ${formatLsn(commitLsn)} inserted ${what}: a captured table was renamed, replaced, moved or altered, and rows inserted around that may be missing from the stream. Nothing was published since the last check of the tables. ${UNDO_CHANGE}`,
      { ...lsns({ commitLsn }), row: what },
    );
  }
}

export class StreamOrderError extends HaltError {
  readonly code = 'STREAM_OUT_OF_ORDER';
  constructor(what: string) {
    super(
      `The replication stream violates its protocol: ${what}. Nothing was published past it. Start the reader again: it decodes again from the checkpoint. If it halts there again: run \`npm run adopt -- reader --force\`, which continues behind it, start the reader, and run the replay command that adopt prints. Please report it with the server's version.`,
    );
  }
}

export class CheckpointUnreadableError extends HaltError {
  readonly code = 'CHECKPOINT_UNREADABLE';
  constructor(cause: unknown) {
    super(
      `The newest record of the checkpoint topic can't be read (${cause instanceof Error ? cause.message : 'unknown'}). If a newer reader wrote it, run the newer reader. If something else wrote it: ${ADOPT}`,
      {},
      { cause },
    );
  }
}

export class CheckpointMissingError extends HaltError {
  readonly code = 'CHECKPOINT_MISSING';
  constructor(
    config: { checkpointTopic: string; slotName: string },
    slot: { confirmedFlushLsn: Lsn | null } | null,
    liveOffsets: bigint,
  ) {
    const confirmedFlushLsn = slot === null ? 'no slot' : formatLsn(slot.confirmedFlushLsn ?? LSN_ZERO);
    const found =
      slot === null ? 'No slot exists' : `Slot ${config.slotName} exists (confirmed_flush_lsn ${confirmedFlushLsn})`;
    super(
      `${found} and the live topic holds ${liveOffsets} records, but there is no checkpoint of ${config.slotName} in ${config.checkpointTopic}: what was published is unknown. Check KAFKA_BROKERS, CHECKPOINT_TOPIC, SLOT_NAME and ORDERS_TOPIC. ${ADOPT}`,
      { confirmedFlushLsn, liveOffsets: String(liveOffsets), checkpoint: 'none' },
    );
  }
}

export class SystemChangedError extends HaltError {
  readonly code = 'SOURCE_CHANGED';
  constructor(found: Record<'systemIdentifier' | 'database', string>, expected: typeof found) {
    super(
      `ORDER_DATABASE_URL leads to database ${found.database} of cluster ${found.systemIdentifier}, but the checkpoint belongs to database ${expected.database} of cluster ${expected.systemIdentifier}; LSNs of two clusters can't be compared. Correct ORDER_DATABASE_URL or KAFKA_BROKERS, or, for a cluster that replaces the old one: ${NEW_NAMES}`,
      {
        found: `${found.systemIdentifier}/${found.database}`,
        expected: `${expected.systemIdentifier}/${expected.database}`,
      },
    );
  }
}

export class SlotDroppedError extends HaltError {
  readonly code = 'SLOT_DROPPED';
  constructor(slotName: string, throughLsn: Lsn, flushLsn: Lsn) {
    super(
      `The slot ${slotName} does not exist, but everything before ${formatLsn(throughLsn)} was published through it; the server is at ${formatLsn(flushLsn)}. Orders committed in between may be unpublished. ${ADOPT}`,
      lsns({ throughLsn, flushLsn }),
    );
  }
}

export class SlotAheadError extends HaltError {
  readonly code = 'SLOT_AHEAD';
  constructor(slotName: string, confirmedFlushLsn: Lsn, throughLsn: Lsn) {
    super(
      `confirmed_flush_lsn ${formatLsn(confirmedFlushLsn)} of slot ${slotName} is ahead of the checkpoint ${formatLsn(throughLsn)}: orders committed between them were never published and won't be sent again. The slot was recreated, or advanced by another client. ${ADOPT}`,
      lsns({ confirmedFlushLsn, throughLsn }),
    );
  }
}

export class SlotForeignError extends HaltError {
  readonly code = 'SLOT_FOREIGN';
  constructor(slotName: string, plugin: string, database: string) {
    super(
      `The slot ${slotName} decodes database ${database} with ${plugin}; the reader needs its own database and pgoutput. If someone uses that slot, set SLOT_NAME to a name of its own. If nobody does: drop it by \`SELECT pg_drop_replication_slot('${slotName}')\` and start the reader again.`,
      { plugin, database },
    );
  }
}

class PublicationChangedError extends HaltError {
  readonly code = 'PUBLICATION_CHANGED';
  constructor(publicationName: string, differences: readonly CaptureDifference[], throughLsn: Lsn, flushLsn: Lsn) {
    const isGone = differences.some(({ found }) => found === 'none');
    super(
      `The publication ${publicationName} was ${isGone ? 'dropped' : 'altered or recreated'} since the last check (${formatDifferences(differences)}): rows inserted meanwhile may be missing from the stream. Everything before ${formatLsn(throughLsn)} was published; the server is at ${formatLsn(flushLsn)}. ${ADOPT}`,
      { ...lsns({ throughLsn, flushLsn }), ...differenceDetails(differences) },
    );
  }
}

export class TablesChangedError extends HaltError {
  readonly code = 'TABLES_CHANGED';
  /** `moved`: where those captured tables are now that are not under their name. */
  constructor(differences: readonly CaptureDifference[], moved: readonly string[], throughLsn: Lsn, flushLsn: Lsn) {
    const where = moved.map((sentence) => ` ${sentence}`).join('');
    const keep =
      moved.length === 0
        ? ''
        : ' To keep the tables that have the names now instead, as after a restore or a migration that replaced them: run ' +
          `ALTER PUBLICATION … SET TABLE public.orders, public.order_items, then adopt, which names what only the old tables hold.`;
    const isTraceOnly = differences.every(({ field }) => field.endsWith(' xmin'));
    const harmless = isTraceOnly
      ? ' A GRANT of what was granted already, or an owner or privilege that was changed and changed back, leaves the same trace: if that was all, nothing has to be put back or copied.'
      : '';
    super(
      `The captured tables are not what they were at the last check (${formatDifferences(differences)}): they were renamed, replaced, moved or altered, and orders inserted meanwhile may be missing from the stream.${where}${harmless} Everything before ${formatLsn(throughLsn)} was published; the server is at ${formatLsn(flushLsn)}. ${UNDO_CHANGE}${keep}`,
      { ...lsns({ throughLsn, flushLsn }), ...differenceDetails(differences) },
    );
  }
}

/** The halt for these differences, of which there is at least one. `moved`: see describeMoved. */
export function captureChanged(
  publicationName: string,
  differences: readonly CaptureDifference[],
  moved: readonly string[],
  throughLsn: Lsn,
  flushLsn: Lsn,
): PublicationChangedError | TablesChangedError {
  return differences.every(({ subject }) => subject === 'publication')
    ? new PublicationChangedError(publicationName, differences, throughLsn, flushLsn)
    : new TablesChangedError(differences, moved, throughLsn, flushLsn);
}

function formatDifferences(differences: readonly CaptureDifference[]): string {
  return differences.map(({ field, expected, found }) => `${field}: ${expected} -> ${found}`).join('; ');
}

function differenceDetails(differences: readonly CaptureDifference[]): Record<string, string> {
  return Object.fromEntries(differences.map(({ field, expected, found }) => [field, `${expected} -> ${found}`]));
}

export class ServerBehindError extends HaltError {
  readonly code = 'SERVER_BEHIND';
  constructor(flushLsn: Lsn, throughLsn: Lsn) {
    super(
      `The server's WAL ends at ${formatLsn(flushLsn)}, but everything before ${formatLsn(throughLsn)} was published: it was restored from an older backup, and the topic holds events of orders that it does not have. ${ADOPT}`,
      lsns({ flushLsn, throughLsn }),
    );
  }
}

export class TimelineForkedError extends HaltError {
  readonly code = 'TIMELINE_FORKED';
  constructor(found: {
    timeline: number;
    recordedTimeline: number;
    branchLsn: Lsn | null;
    lastPublishedLsn: Lsn | null;
  }) {
    const last = found.lastPublishedLsn === null ? 'nothing' : formatLsn(found.lastPublishedLsn);
    super(
      found.branchLsn === null
        ? `The server is on timeline ${found.timeline}, whose history does not contain timeline ${found.recordedTimeline} of the checkpoint (last published ${last}). ${ADOPT}`
        : `The server's history left timeline ${found.recordedTimeline} at ${formatLsn(found.branchLsn)}, but the last published transaction is at ${last}, not before it: the topic holds events of orders that this primary never had. ${ADOPT}`,
      positions({
        timeline: found.timeline,
        recordedTimeline: found.recordedTimeline,
        branchLsn: found.branchLsn === null ? 'none' : formatLsn(found.branchLsn),
        lastPublishedLsn: last,
      }),
    );
  }
}

export class ContentsDifferError extends HaltError {
  readonly code = 'CONTENTS_DIFFER';
  constructor(what: string, commitLsn: Lsn, throughLsn: Lsn) {
    super(
      `The database and the topic have different histories: ${what} (at ${formatLsn(commitLsn)}; published through ${formatLsn(throughLsn)}). The database was restored from a copy of its files, or is a clone, or published orders were deleted past the triggers (then put them back). ${ADOPT} If adopt finds nothing wrong, add --force: some differences show only in the stream.`,
      lsns({ commitLsn, throughLsn }),
    );
  }
}

export class LiveTopicMissingError extends HaltError {
  readonly code = 'LIVE_TOPIC_MISSING';
  constructor(topic: string, throughLsn: Lsn, flushLsn: Lsn) {
    super(
      `The live topic ${topic} does not exist, although everything before ${formatLsn(throughLsn)} was published to it; the server is at ${formatLsn(flushLsn)}. Check ORDERS_TOPIC and KAFKA_BROKERS. ${ADOPT}`,
      { topic, ...lsns({ throughLsn, flushLsn }) },
    );
  }
}

export class LiveTopicChangedError extends HaltError {
  readonly code = 'LIVE_TOPIC_CHANGED';
  constructor(what: string, found: Record<string, string | number | bigint>) {
    super(
      `The live topic is not the one that was published to: ${what}. It was recreated or truncated, or another producer writes to it. ${ADOPT}`,
      positions(found),
    );
  }
}
