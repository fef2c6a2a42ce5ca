// Every order of one snapshot of the orders database, for when neither Kafka nor the WAL has the range any more. The tables
// tell no commit positions: these events, and the ledger's rows made of them, have (current timeline, 0/0, ordinal), which
// means "position unknown", and the time of placing as time of commit. Guarantees: repair gives each order of the
// snapshot that the ledger lacks, reapply gives all; none is missed between snapshot and live stream; none is taken away
// from the stream: what the ledger lacks is asked again once the sinks have applied all that the snapshot may see.
//
// No order is missed: the live slot must exist. Its creation waited for all transactions that ran, so what it does not
// stream had committed before, and any snapshot taken since sees it. What a snapshot does not see, the stream delivers.
// Going on after a stop therefore needs only what the first snapshot saw, in the order (placed_at, order_id): an order
// that committed later with an older placed_at is the stream's. A slot made anew in between breaks this; the checkpoint
// tells (an operator's step adds a gap or a generation), and the run begins again: its doubles are counted, and harmless.

import type { Checkpoint } from '#schemas/checkpoint.ts';
import { encodeOrderPlaced } from '#schemas/codec.ts';
import { LSN_ZERO, type Lsn } from '#schemas/lsn.ts';
import { orderPartition } from '#schemas/partition.ts';
import type { JsonValue } from '#schemas/replay/plan.ts';
import type { Logger } from '#service/logger.ts';
import { SystemChangedError } from '../../../cdc-reader/errors.ts';
import { readIdentity } from '../../../cdc-reader/postgres/slot.ts';
import { readSnapshotOrders, type SnapshotOrder } from '../../../cdc-reader/postgres/snapshot.ts';
import { createSourceSession, type SlotState } from '../../../cdc-reader/postgres/source-session.ts';
import { buildSnapshotEvent } from '../../../cdc-reader/startup/snapshot-event.ts';
import { explainUnreadable } from '../../captured/unreadable-rows.ts';
import { ChunkBuilder } from './chunk-builder.ts';
import type { Coverage, ReplaySource, SourceChunk } from './source.ts';

export interface TablesOptions {
  readonly databaseUrl: string;
  readonly applicationName: string;
  readonly slotName: string;
  readonly logger: Logger;
  readonly checkpoint: Pick<Checkpoint, 'systemIdentifier' | 'database' | 'generation' | 'partitions' | 'gaps'>;
  /** Which of these orders the ledger lacks; undefined: all are given. */
  readonly selectUnknown?: ((orderIds: readonly string[]) => Promise<ReadonlySet<string>>) | undefined;
  /** Resolves when every sink has applied what the live topic holds, or will hold, of what had committed when it was called. */
  readonly awaitApplied: (signal: AbortSignal) => Promise<void>;
}

/** The live slot does not stream what commits from now on, so nothing that is read now meets the stream without a hole. */
export class LiveSlotGoneError extends Error {
  readonly code = 'LIVE_SLOT_GONE';

  constructor(slotName: string, reason: string) {
    super(
      `The slot ${slotName} ${reason}: orders that commit after the snapshot would be missed. Make the reader stream ` +
        'again first (npm run adopt says how), then replay from the tables.',
    );
    this.name = 'LiveSlotGoneError';
  }
}

/** Orders fetched and checked against the ledger at a time. */
const SNAPSHOT_BATCH = 1_000;

export function createTablesSource(options: TablesOptions): ReplaySource {
  const { checkpoint, selectUnknown } = options;
  const { generation, partitions } = checkpoint;
  const epoch = `${generation}.${checkpoint.gaps.length}`;

  async function* read(cursor: JsonValue | null, signal: AbortSignal): AsyncGenerator<SourceChunk, void, undefined> {
    const last = parseTablesCursor(cursor, epoch);
    const identity = await readIdentity(options);
    if (identity.systemIdentifier !== checkpoint.systemIdentifier) throw new SystemChangedError(identity, checkpoint);
    requireLiveSlot(options.slotName, await readLiveSlot(options));
    const position = { generation, timeline: identity.timeline, commitLsn: LSN_ZERO };
    let ordinal = last === undefined ? 0 : last.ordinal + 1;
    const chunk = new ChunkBuilder();
    let isSettled = false;
    /** What the ledger lacks when it has all that the stream delivers. */
    const selectWanted = async (orderIds: readonly string[]): Promise<ReadonlySet<string>> => {
      const wanted = (await selectUnknown?.(orderIds)) ?? new Set(orderIds);
      if (isSettled || wanted.size === 0) return wanted;
      await options.awaitApplied(signal);
      isSettled = true;
      return selectWanted(orderIds);
    };
    for await (const batch of readTables(options)) {
      signal.throwIfAborted();
      const events = batch
        .map((order) => buildSnapshotEvent(position, 0, order))
        .filter((event) => isAfter(event, last));
      const wanted = await selectWanted(events.map(({ orderId }) => orderId));
      let cursorOfChunk: JsonValue = cursor;
      for (const found of events) {
        if (!wanted.has(found.orderId)) continue;
        const event = { ...found, ordinal };
        ordinal += 1;
        const { userId: key } = event;
        chunk.add({ partition: orderPartition(key, partitions), key, value: encodeOrderPlaced(event), event });
        cursorOfChunk = formatTablesCursor(event, epoch);
        if (chunk.isFull) yield { orders: chunk.take(), cursor: cursorOfChunk };
      }
      if (!chunk.isEmpty) yield { orders: chunk.take(), cursor: cursorOfChunk };
      signal.throwIfAborted();
    }
  }
  return { kind: 'tables', read };
}

/** @throws ConfigurationError where the role may not read every row */
async function* readTables(options: TablesOptions): AsyncGenerator<readonly SnapshotOrder[], void, undefined> {
  try {
    yield* readSnapshotOrders({ ...options, batchSize: SNAPSHOT_BATCH });
  } catch (error) {
    throw explainUnreadable('ORDER_DATABASE_URL', error);
  }
}

/** The last order given; `epoch`: of which slot, by what operators did to the checkpoint. */
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
    throw new Error(`${JSON.stringify(cursor)} is not where a replay from the tables stopped.`);
  }
  if (then !== epoch) return undefined;
  return { placedAt: BigInt(placedAt), orderId, ordinal: ordinal as number };
}

/** In the snapshot's order. Ids of Postgres are in lower case, and sort as their bytes do. */
function isAfter(event: { placedAt: bigint; orderId: string }, last: TablesCursor | undefined): boolean {
  if (last === undefined) return true;
  return event.placedAt > last.placedAt || (event.placedAt === last.placedAt && event.orderId > last.orderId);
}

async function readLiveSlot(options: TablesOptions): Promise<SlotState | null> {
  const session = await createSourceSession({ ...options, onEnd: () => undefined });
  try {
    return await session.readSlot(options.slotName);
  } finally {
    await session.close();
  }
}

function requireLiveSlot(slotName: string, slot: SlotState | null): void {
  if (slot === null) throw new LiveSlotGoneError(slotName, 'does not exist');
  if (slot.walStatus === 'lost' || slot.invalidationReason !== null) {
    throw new LiveSlotGoneError(slotName, `was invalidated (${slot.invalidationReason ?? 'wal_removed'})`);
  }
}

/** The tables hold every order and no position, so they cover no range: whoever wants them, asks for them by name. */
export function tablesCoverage(newestLsn: Lsn): Coverage {
  const why =
    'The tables hold every order but no positions: --source tables replays all of them, or, in mode repair, those that ' +
    'the ledger lacks, whatever the range.';
  return { kind: 'tables', oldestLsn: null, newestLsn, why, covers: () => false };
}
