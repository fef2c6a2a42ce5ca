// Resolves --from-time to the commit position of the first order committed at or after it: by binary search in the live topic,
// or, if that does not hold the answer, from the start of the replay window's WAL. Guarantees: the lowest such position, or
// that it is unknown; never a later one, as long as commit times increase along the WAL up to TOLERANCE. (Postgres takes a
// commit's time just before its place in the WAL, so concurrent commits may swap, and a corrected clock may step back. A
// clock that was further off the operator must notice: the plan shows the resolved position.)

import type { KafkaLog } from '#kafka/reading/log.ts';
import type { LsnRange } from '#schemas/checkpoint.ts';
import { LSN_ZERO, type Lsn } from '#schemas/lsn.ts';
import type { OrderPlaced } from '#schemas/order-placed.ts';
import { findFirstEvent, readStableOffsets } from './live-records.ts';
import type { WalBatch } from './wal-transactions.ts';

export type ResolvedTime =
  | { readonly kind: 'found'; readonly commitLsn: Lsn /** Microseconds since 1970. */; readonly committedAt: bigint }
  /** No order was committed at or after that time. */
  | { readonly kind: 'none' }
  /** The first order may be one that is no longer available. */
  | { readonly kind: 'not-held' };

/** By how much an earlier commit in the WAL may bear a later time. */
const TOLERANCE_MICROS = 10_000_000n;

interface Wanted {
  /** Microseconds since 1970. */
  readonly at: bigint;
  readonly toleranceMicros?: bigint;
}

export interface LiveTopic {
  readonly log: KafkaLog;
  readonly topic: string;
  /** Events of older generations have positions of another server's WAL. */
  readonly generation: number;
  /** Accepted gaps. */
  readonly gaps: readonly LsnRange[];
}

/** @param readWal everything in the replay window; undefined if there is none */
export async function resolveTime(
  wanted: Wanted,
  live: LiveTopic,
  readWal: (() => AsyncIterable<WalBatch>) | undefined,
): Promise<ResolvedTime> {
  const resolved = await resolveInLog(wanted, live);
  return resolved.kind === 'not-held' && readWal !== undefined ? resolveInWal(wanted, readWal()) : resolved;
}

/** In the live topic. */
export async function resolveInLog(
  { at, toleranceMicros = TOLERANCE_MICROS }: Wanted,
  live: LiveTopic,
): Promise<ResolvedTime> {
  let first: OrderPlaced | undefined;
  /** Everything before this position was committed before the time, whether it is still held or not. */
  let certainLsn = LSN_ZERO;
  const missing = [...live.gaps];
  const find = (range: { partition: number; fromOffset: bigint; untilOffset: bigint }, sinceMicros?: bigint) =>
    findFirstEvent(live.log, { topic: live.topic, ...range }, ({ generation, committedAt }) => {
      return generation === live.generation && (sinceMicros === undefined || committedAt >= sinceMicros);
    });
  for (const [partition, { earliest, lastStable }] of await readStableOffsets(live.log, live.topic)) {
    const firstHeld = await find({ partition, fromOffset: earliest, untilOffset: lastStable });
    // Deleted by retention: everything before what is left, if anything is.
    if (earliest > 0n) missing.push({ fromLsn: LSN_ZERO, toLsn: firstHeld?.event.commitLsn ?? END_OF_LOG });
    let low = earliest;
    let high = lastStable;
    while (low < high) {
      const middle = (low + high) / 2n;
      const next = await find({ partition, fromOffset: middle, untilOffset: high });
      if (next === null || next.event.committedAt >= at - toleranceMicros) {
        high = middle;
        continue;
      }
      low = next.offset + 1n;
      if (next.event.commitLsn > certainLsn) certainLsn = next.event.commitLsn;
    }
    const found = await find({ partition, fromOffset: low, untilOffset: lastStable }, at);
    if (found !== null && (first === undefined || found.event.commitLsn < first.commitLsn)) first = found.event;
  }
  const untilLsn = first?.commitLsn ?? END_OF_LOG;
  if (missing.some(({ fromLsn, toLsn }) => toLsn > certainLsn && fromLsn < untilLsn)) return { kind: 'not-held' };
  if (first === undefined) return { kind: 'none' };
  return { kind: 'found', commitLsn: first.commitLsn, committedAt: first.committedAt };
}

const END_OF_LOG = ((1n << 64n) - 1n) as Lsn;

/** In the WAL, from the beginning of the window. */
export async function resolveInWal(
  { at, toleranceMicros = TOLERANCE_MICROS }: Wanted,
  batches: AsyncIterable<WalBatch>,
): Promise<ResolvedTime> {
  let isCertain = false;
  for await (const { transactions } of batches) {
    for (const { commitLsn, committedAt } of transactions) {
      if (committedAt >= at) return isCertain ? { kind: 'found', commitLsn, committedAt } : { kind: 'not-held' };
      // Everything before the window was committed before this order, and so before the time.
      isCertain ||= committedAt < at - toleranceMicros;
    }
  }
  return { kind: isCertain ? 'none' : 'not-held' };
}
