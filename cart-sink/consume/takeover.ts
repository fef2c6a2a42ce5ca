/**
 * Takes over the partitions that the group has assigned, before anything is fetched from them.
 *
 * Guarantees: the carts database has named this sink the owner, which fences the one before (I6), and Kafka holds every
 * record from the stored offset on, or the sink halts (I11).
 */
import { failpoint } from '#service/failpoint.ts';
import { retry } from '#service/retry.ts';
import { OffsetBeyondEndError, RecordsLostError } from '../errors.ts';
import type { Ownership, TopicPartition } from '../sql/consumer-offsets.ts';
import { checkStart, type PartitionRange } from './offset-checks.ts';

export interface TakeoverIo {
  /** Retries transient errors until `signal` is aborted; then rejects. */
  readonly takeOwnership: (partitions: readonly TopicPartition[], signal: AbortSignal) => Promise<readonly Ownership[]>;
  /** What Kafka holds of each partition of `topic`. */
  readonly readRanges: (topic: string) => Promise<ReadonlyMap<number, PartitionRange>>;
}

/** @throws HaltError if a partition does not continue what the carts database holds */
export async function takeOver(
  partitions: readonly TopicPartition[],
  { takeOwnership, readRanges }: TakeoverIo,
  signal: AbortSignal,
): Promise<readonly Ownership[]> {
  const taken = partitions.length === 0 ? [] : await takeOwnership(partitions, signal);
  await failpoint('sink.taken-over');
  await retry(() => requireContinuity(readRanges, taken), {
    backOff: { firstMs: BETWEEN_CHECKS_MS, longestMs: BETWEEN_CHECKS_MS },
    isTransient: (error, attempt) => error instanceof OffsetBeyondEndError && attempt < END_CHECKS,
    signal,
  });
  return taken;
}

/** A new leader may not know the high watermark of the old one for a moment, and then seems to end too early. */
const END_CHECKS = 3;
const BETWEEN_CHECKS_MS = 1_000;

async function requireContinuity(readRanges: TakeoverIo['readRanges'], taken: readonly Ownership[]): Promise<void> {
  let beyondEnd: OffsetBeyondEndError | undefined;
  for (const [topic, ownerships] of Map.groupBy(taken, ({ topic }) => topic)) {
    const ranges = await readRanges(topic);
    for (const { partition, nextOffset: expected, lastCommitLsn } of ownerships) {
      const range = ranges.get(partition);
      if (range === undefined) throw new Error(`Kafka returned no offsets for ${topic}[${partition}]`);
      const check = checkStart(expected, range);
      const found = { topic, partition, expected, lastCommitLsn, ...range };
      if (check === 'records-lost') throw new RecordsLostError(found);
      if (check === 'beyond-end') beyondEnd ??= new OffsetBeyondEndError(found);
    }
  }
  if (beyondEnd !== undefined) throw beyondEnd;
}
