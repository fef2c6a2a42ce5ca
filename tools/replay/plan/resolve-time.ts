// --from-time: from a time to the commit position of the first order committed at or after it. Reads the live topic by
// binary search, or, where that does not hold the answer, the window of WAL from its start. Guarantees: the least such
// position, or an admission that what is held can't tell; never a later position than the right one, as long as
// commit times increase along the WAL up to TOLERANCE (Postgres takes a commit's time just before its place in the WAL,
// so that concurrent commits may swap, and a corrected clock may step back; a clock that was further off is the
// operator's to see: the tool shows what it resolved). What to do about an answer is left to the plan.

import type { KafkaLog } from '#kafka/reading/log.ts';
import type { LsnRange } from '#schemas/checkpoint.ts';
import { LSN_ZERO, type Lsn } from '#schemas/lsn.ts';
import type { OrderPlaced } from '#schemas/order-placed.ts';
import { READ_DEADLINE_MS, readEvent, readSettledOffsets } from '../sources/live-records.ts';
import type { WalBatch } from '../sources/wal-transactions.ts';

export type ResolvedTime =
  | { readonly kind: 'found'; readonly commitLsn: Lsn /** Microseconds since 1970. */; readonly committedAt: bigint }
  /** Nothing that is held committed at or after that time. */
  | { readonly kind: 'none' }
  /** The first order may be one that is not held any more. */
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
  /** Events of older generations have positions of another log. */
  readonly generation: number;
  /** What the topic does not hold although it should. */
  readonly gaps: readonly LsnRange[];
}

/** @param readWal everything in the window, undefined where there is none */
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
  /** Whatever committed before this position did so before the time, whether it is held or not. */
  let certainLsn = LSN_ZERO;
  const missing = [...live.gaps];
  for (const [partition, { earliest, lastStable }] of await readSettledOffsets(live.log, live.topic)) {
    const firstHeld = await readNext(live, partition, earliest, lastStable);
    // What retention has deleted lay before what is left, if anything is.
    if (earliest > 0n) missing.push({ fromLsn: LSN_ZERO, toLsn: firstHeld?.event.commitLsn ?? END_OF_LOG });
    let low = earliest;
    let high = lastStable;
    while (low < high) {
      const middle = (low + high) / 2n;
      const next = await readNext(live, partition, middle, high);
      if (next === undefined || next.event.committedAt >= at - toleranceMicros) {
        high = middle;
        continue;
      }
      low = next.offset + 1n;
      if (next.event.commitLsn > certainLsn) certainLsn = next.event.commitLsn;
    }
    const found = await readNext(live, partition, low, lastStable, (event) => event.committedAt >= at);
    if (found !== undefined && (first === undefined || found.event.commitLsn < first.commitLsn)) first = found.event;
  }
  const untilLsn = first?.commitLsn ?? END_OF_LOG;
  if (missing.some(({ fromLsn, toLsn }) => toLsn > certainLsn && fromLsn < untilLsn)) return { kind: 'not-held' };
  if (first === undefined) return { kind: 'none' };
  return { kind: 'found', commitLsn: first.commitLsn, committedAt: first.committedAt };
}

const END_OF_LOG = ((1n << 64n) - 1n) as Lsn;

/** The first event of this generation at or behind `fromOffset` that is wanted. */
async function readNext(
  { log, topic, generation }: LiveTopic,
  partition: number,
  fromOffset: bigint,
  untilOffset: bigint,
  isWanted: (event: OrderPlaced) => boolean = () => true,
): Promise<{ offset: bigint; event: OrderPlaced } | undefined> {
  const range = { topic, partition, fromOffset, untilOffset, isolation: 'read_committed' } as const;
  for await (const records of log.readRecords({ ...range, deadlineMs: READ_DEADLINE_MS })) {
    for (const record of records) {
      const event = readEvent(record);
      if (event?.generation === generation && isWanted(event)) return { offset: record.offset, event };
    }
  }
  return undefined;
}

/** In the WAL, from the beginning of the window. */
export async function resolveInWal(
  { at, toleranceMicros = TOLERANCE_MICROS }: Wanted,
  batches: AsyncIterable<WalBatch>,
): Promise<ResolvedTime> {
  let isCertain = false;
  for await (const { transactions } of batches) {
    for (const { commitLsn, committedAt } of transactions) {
      if (committedAt >= at) return isCertain ? { kind: 'found', commitLsn, committedAt } : { kind: 'not-held' };
      // What committed before the window did so before this one, and so before the time.
      isCertain ||= committedAt < at - toleranceMicros;
    }
  }
  return { kind: isCertain ? 'none' : 'not-held' };
}
