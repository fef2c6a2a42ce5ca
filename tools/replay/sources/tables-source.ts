// The order tables as a source: every order of one snapshot, for ranges that neither Kafka nor the WAL holds any more. The
// tables have no commit positions: these events, and the ledger rows made of them, have (current timeline, 0/0, ordinal),
// which means "position unknown", and the time of placing as time of commit. Guarantees: repair gives each order of the
// snapshot that the ledger lacks, reapply gives all; none is missed between snapshot and live stream; the stream is not
// overtaken: the ledger is asked again once the sinks have applied all that the snapshot may see.
//
// No order is missed because the live slot must exist. Its creation waited for all running transactions, so an order that it
// does not stream was committed before, and any later snapshot sees it. What a snapshot does not see, the stream delivers.
// Resuming therefore needs only what the first snapshot saw, in the order (placed_at, order_id): an order that committed later
// with an older placed_at is delivered by the stream. A slot that is recreated in between breaks this; the checkpoint shows it
// (adopt adds a gap or a generation), and the run starts from the beginning: its duplicates are counted, and harmless.

import type { Checkpoint } from '#schemas/checkpoint.ts';
import { parseOrderPlaced } from '#schemas/codec.ts';
import type { ContractRow } from '#schemas/contract-tables.ts';
import { LSN_ZERO, type Lsn } from '#schemas/lsn.ts';
import { createOrderFilter, type JsonValue, type OrderFilter } from '#schemas/replay/plan.ts';
import type { EventRecord } from '../../../cdc-reader/encode/encode-event.ts';
import { parseTimestampMicros } from '../../../cdc-reader/encode/read-numbers.ts';
import { OrderWithoutItemsError } from '../../../cdc-reader/encode/unpublishable-errors.ts';
import { SystemChangedError } from '../../../cdc-reader/errors.ts';
import { readIdentity } from '../../../cdc-reader/postgres/slot.ts';
import { readSnapshotOrders, type SnapshotOrder } from '../../../cdc-reader/postgres/snapshot.ts';
import type { SlotState } from '../../../cdc-reader/postgres/source-session.ts';
import { encodeSnapshotOrder } from '../../../cdc-reader/startup/snapshot-event.ts';
import { explainUnreadable } from '../../captured/unreadable-rows.ts';
import { type ServerOptions, withSourceSession } from '../../connect.ts';
import { isLost } from '../../repairs.ts';
import { ToolRefusal } from '../../run-tool.ts';
import { exitCodes } from '../cli/errors.ts';
import { ChunkBuilder, type Coverage, NO_TOPIC, type ReplaySource, type SourceChunk } from './source.ts';

export interface TablesOptions extends ServerOptions {
  readonly slotName: string;
  readonly checkpoint: Pick<Checkpoint, 'systemIdentifier' | 'database' | 'generation' | 'partitions' | 'gaps'>;
  /** Which of these orders the ledger lacks; undefined: all are given. */
  readonly selectUnknown?: ((orderIds: readonly string[]) => Promise<ReadonlySet<string>>) | undefined;
  /** The orders that are wanted at all; of others no event is made, whatever their rows hold. */
  readonly filter: OrderFilter;
  /** Resolves once every sink has applied everything that was committed when it was called. */
  readonly awaitApplied: (signal: AbortSignal) => Promise<void>;
}

/** An order of the tables that no event can be made of. */
class TableOrderError extends ToolRefusal {
  readonly code = 'TABLE_ORDER_UNREADABLE';

  constructor(orderId: string, cause: unknown) {
    const isWithoutItems = cause instanceof OrderWithoutItemsError;
    const what = isWithoutItems
      ? 'has no rows in public.order_items. If its items are in a table that stood in for that, copy them; else delete the order'
      : `can't be replayed: ${(cause as Error).message}`;
    super(
      `Order ${orderId} in public.orders ${what}, in a session with SET session_replication_role = replica. Or replay other ` +
        'orders by --order or --user. Nothing was skipped.',
      exitCodes.failed,
      { cause },
    );
    this.name = 'TableOrderError';
  }
}

/** The live slot does not stream what commits from now on, so orders between snapshot and stream would be missed. */
class LiveSlotGoneError extends Error {
  readonly code = 'LIVE_SLOT_GONE';

  constructor(slotName: string, reason: string) {
    super(
      `The slot ${slotName} ${reason}: orders that commit after the snapshot would be missed. Get the reader to stream ` +
        'again first (npm run adopt -- reader), then replay from the tables.',
    );
    this.name = 'LiveSlotGoneError';
  }
}

/** Orders fetched and checked against the ledger at a time. */
const SNAPSHOT_BATCH = 1_000;

export function createTablesSource(options: TablesOptions): ReplaySource {
  const { checkpoint, selectUnknown } = options;
  const isWanted = createOrderFilter(options.filter);
  const { generation, partitions } = checkpoint;
  const epoch = `${generation}.${checkpoint.gaps.length}`;

  async function* read(cursor: JsonValue | null, signal: AbortSignal): AsyncGenerator<SourceChunk, void, undefined> {
    const last = parseTablesCursor(cursor, epoch);
    const identity = await readIdentity(options);
    if (identity.systemIdentifier !== checkpoint.systemIdentifier) throw new SystemChangedError(identity, checkpoint);
    requireLiveSlot(
      options.slotName,
      await withSourceSession(options, (session) => session.readSlot(options.slotName)),
    );
    const stamp = { topic: NO_TOPIC, partitions, generation, timeline: identity.timeline, commitLsn: LSN_ZERO };
    let ordinal = last === undefined ? 0 : last.ordinal + 1;
    const chunk = new ChunkBuilder();
    let isCaughtUp = false;
    /** What the ledger lacks once it has all that the stream delivers. */
    const selectWanted = async (orderIds: readonly string[]): Promise<ReadonlySet<string>> => {
      const wanted = (await selectUnknown?.(orderIds)) ?? new Set(orderIds);
      if (isCaughtUp || wanted.size === 0) return wanted;
      await options.awaitApplied(signal);
      isCaughtUp = true;
      return selectWanted(orderIds);
    };
    for await (const batch of readTables(options)) {
      signal.throwIfAborted();
      const rows = batch.filter(
        ({ order }) =>
          isAfter(order, last) && isWanted({ event: { userId: order.user_id!, orderId: order.order_id! } }),
      );
      const wanted = await selectWanted(rows.map(({ order }) => order.order_id!));
      let cursorOfChunk: JsonValue = cursor;
      for (const row of rows) {
        if (!wanted.has(row.order.order_id!)) continue;
        const { partition, key, value } = encodeRow(stamp, ordinal, row);
        ordinal += 1;
        const event = parseOrderPlaced(value);
        chunk.add({ partition, key, value, event });
        cursorOfChunk = formatTablesCursor(event, epoch);
        if (chunk.isFull) yield { orders: chunk.take(), cursor: cursorOfChunk };
      }
      if (!chunk.isEmpty) yield { orders: chunk.take(), cursor: cursorOfChunk };
      signal.throwIfAborted();
    }
  }
  return { kind: 'tables', read };
}

/** @throws ConfigurationError if the role may not read every row */
async function* readTables(options: TablesOptions): AsyncGenerator<readonly SnapshotOrder[], void, undefined> {
  try {
    yield* readSnapshotOrders({ ...options, batchSize: SNAPSHOT_BATCH });
  } catch (error) {
    throw explainUnreadable('ORDER_DATABASE_URL', error);
  }
}

/** The last order given; `epoch` identifies the slot, by what operators did to the checkpoint. */
interface TablesCursor {
  readonly placedAt: bigint;
  readonly orderId: string;
  readonly ordinal: number;
}

export function formatTablesCursor({ placedAt, orderId, ordinal }: TablesCursor, epoch: string): JsonValue {
  return { placedAt: String(placedAt), orderId, ordinal, epoch };
}

/** Undefined: from the beginning. @throws Error for a cursor of another source */
export function parseTablesCursor(cursor: JsonValue | null, epoch: string): TablesCursor | undefined {
  if (cursor === null) return undefined;
  const { placedAt, orderId, ordinal, epoch: then } = cursor as Record<string, JsonValue | undefined>;
  if (typeof placedAt !== 'string' || typeof orderId !== 'string' || !Number.isSafeInteger(ordinal)) {
    throw new Error(`${JSON.stringify(cursor)} is no cursor of a replay from the tables.`);
  }
  if (then !== epoch) return undefined;
  return { placedAt: BigInt(placedAt), orderId, ordinal: ordinal as number };
}

/** By the snapshot's order. Postgres prints ids in lower case, and sorts them as their bytes. */
function isAfter({ placed_at, order_id }: ContractRow<'orders'>, last: TablesCursor | undefined): boolean {
  if (last === undefined) return true;
  const placedAt = parseTimestampMicros(placed_at);
  return placedAt > last.placedAt || (placedAt === last.placedAt && order_id! > last.orderId);
}

/** @throws TableOrderError */
function encodeRow(stamp: Parameters<typeof encodeSnapshotOrder>[0], ordinal: number, row: SnapshotOrder): EventRecord {
  try {
    return encodeSnapshotOrder(stamp, ordinal, row);
  } catch (error) {
    throw new TableOrderError(row.order.order_id!, error);
  }
}

function requireLiveSlot(slotName: string, slot: SlotState | null): void {
  if (slot === null) throw new LiveSlotGoneError(slotName, 'does not exist');
  if (isLost(slot)) {
    throw new LiveSlotGoneError(slotName, `was invalidated (${slot.invalidationReason ?? 'wal_removed'})`);
  }
}

/** The tables hold every order and no position, so they cover no range, and are used only if named. */
export function tablesCoverage(newestLsn: Lsn): Coverage {
  const why =
    'The tables hold every order but no positions: --source tables replays all of them or, in mode repair, those that ' +
    'the ledger lacks, whatever the range.';
  return { kind: 'tables', oldestLsn: null, newestLsn, why, covers: () => false };
}
