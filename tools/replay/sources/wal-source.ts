// The retained WAL as a source: the same bytes as in the live topic, made by the reader's own stream, assembler and event
// builder, with the generation of its checkpoint and the timeline of the commit. Guarantees: every order whose commitLsn is in
// the range, by (commitLsn, ordinal), once; reading from a chunk's cursor gives exactly the rest; a transaction of any size
// comes in bounded chunks. How much WAL is retained depends on the window slot.

import type { Checkpoint, LsnRange } from '#schemas/checkpoint.ts';
import { parseOrderPlaced } from '#schemas/codec.ts';
import { formatLsn, type Lsn, parseLsn } from '#schemas/lsn.ts';
import type { JsonValue } from '#schemas/replay/plan.ts';
import { timelineOf } from '#schemas/timeline.ts';
import { SystemChangedError } from '../../../cdc-reader/errors.ts';
import type { SlotState } from '../../../cdc-reader/postgres/source-session.ts';
import { isLost } from '../../repairs.ts';
import { ChunkBuilder, type Coverage, NO_TOPIC, type ReplaySource, type SourceChunk } from './source.ts';
import { readWalTransactions, type WalOptions } from './wal-transactions.ts';

export function createWalSource(
  options: WalOptions & {
    readonly checkpoint: Pick<Checkpoint, 'systemIdentifier' | 'database' | 'generation' | 'partitions'>;
    readonly range: LsnRange;
  },
): ReplaySource {
  const { checkpoint, range } = options;

  async function* read(cursor: JsonValue | null, signal: AbortSignal): AsyncGenerator<SourceChunk, void, undefined> {
    const last = cursor === null ? undefined : parseWalCursor(cursor);
    // The cursor may lie within its transaction, so that is read again.
    const fromLsn = last === undefined || last.commitLsn < range.fromLsn ? range.fromLsn : last.commitLsn;
    const chunk = new ChunkBuilder();
    let cursorOfChunk: JsonValue = cursor;
    for await (const { transactions, identity } of readWalTransactions(options, { ...range, fromLsn }, signal)) {
      if (identity.systemIdentifier !== checkpoint.systemIdentifier) throw new SystemChangedError(identity, checkpoint);
      for (const transaction of transactions) {
        const { commitLsn } = transaction;
        const timeline = timelineOf(commitLsn, identity.timeline, identity.history);
        const { generation, partitions } = checkpoint;
        for (const record of transaction.events({ topic: NO_TOPIC, partitions, generation, timeline })) {
          const { partition, key, value, ordinal } = record;
          if (commitLsn === last?.commitLsn && ordinal <= last.ordinal) continue;
          chunk.add({ partition, key, value, event: parseOrderPlaced(value) });
          cursorOfChunk = formatWalCursor({ commitLsn, ordinal });
          if (chunk.isFull) yield { orders: chunk.take(), cursor: cursorOfChunk };
        }
      }
      if (!chunk.isEmpty) yield { orders: chunk.take(), cursor: cursorOfChunk };
    }
  }
  return { kind: 'wal', read };
}

/** The last order given. */
export interface WalCursor {
  readonly commitLsn: Lsn;
  readonly ordinal: number;
}

export function formatWalCursor({ commitLsn, ordinal }: WalCursor): JsonValue {
  return { commitLsn: formatLsn(commitLsn), ordinal };
}

/** @throws Error for a cursor of another source */
export function parseWalCursor(cursor: JsonValue): WalCursor {
  const { commitLsn, ordinal } = (cursor ?? {}) as Record<string, JsonValue | undefined>;
  if (typeof commitLsn !== 'string' || !Number.isSafeInteger(ordinal)) {
    throw new Error(`${JSON.stringify(cursor)} is no cursor of a replay from the WAL.`);
  }
  return { commitLsn: parseLsn(commitLsn), ordinal: ordinal as number };
}

/**
 * What the window slot holds: every commit from its confirmed position on.
 * @param slot the window slot, null if there is none
 * @param newestLsn what every sink has applied, exclusive
 */
export function walCoverage(windowSlotName: string, slot: SlotState | null, newestLsn: Lsn): Coverage {
  const nothing = (why: string): Coverage => ({ kind: 'wal', oldestLsn: null, newestLsn, why, covers: () => false });
  if (slot === null) {
    return nothing(
      `There is no slot ${windowSlotName}: the replay window is switched off (REPLAY_WINDOW_BYTES=0), or no reader that ` +
        'keeps one has streamed from this server yet.',
    );
  }
  if (isLost(slot)) {
    return nothing(
      `The window slot ${windowSlotName} was invalidated (${slot.invalidationReason ?? 'wal_removed'}): its WAL is gone; ` +
        'the reader creates a new one, which holds what commits from then on.',
    );
  }
  const oldestLsn = slot.confirmedFlushLsn;
  if (oldestLsn === null) return nothing(`The window slot ${windowSlotName} holds nothing yet.`);
  return {
    kind: 'wal',
    oldestLsn,
    newestLsn,
    why: `The slot ${windowSlotName} keeps the WAL from ${formatLsn(oldestLsn)} on.`,
    covers: ({ fromLsn, toLsn }) => fromLsn >= oldestLsn && toLsn <= newestLsn,
  };
}
