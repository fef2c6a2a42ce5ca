/**
 * Takes over the partitions that the group has assigned, before anything is fetched from them.
 *
 * Guarantees: the carts database has named this sink the owner, which fences the one before (I6), and Kafka holds every
 * record from the stored offset on, in the topic in which that offset counts, or the partition halts, or the sink (I11).
 */
import { failpoint } from '#service/failpoint.ts';
import { retry } from '#service/retry.ts';
import { OffsetBeyondEndError, RecordsLostError, TopicRecreatedError } from '../errors.ts';
import type { Ownership, TopicPartition } from '../sql/consumer-offsets.ts';
import { checkStart, isOtherTopic, type PartitionRange } from './offset-checks.ts';

export interface TakeoverIo {
  /** Retries transient errors until `signal` is aborted; then rejects. */
  readonly takeOwnership: (partitions: readonly TopicPartition[], signal: AbortSignal) => Promise<readonly Ownership[]>;
  /** What Kafka holds of each partition of `topic`. */
  readonly readRanges: (topic: string) => Promise<ReadonlyMap<number, PartitionRange>>;
  /** Kafka's id of the topic; null where the brokers have none. */
  readonly readTopicId: (topic: string) => Promise<string | null>;
  /** Stores in which topic the offset of each of these partitions counts. */
  readonly recordTopicIds: (learnt: readonly Ownership[], signal: AbortSignal) => Promise<void>;
  /** Once for a topic that was consumed before ids were stored. */
  readonly onTopicIdUnknown: (learnt: Ownership) => void;
}

export interface TakenOver {
  readonly owned: readonly Ownership[];
  /** Those of them whose records were deleted before they were applied. */
  readonly halted: ReadonlyMap<Ownership, RecordsLostError>;
}

/** @throws HaltError if the topic does not continue what the carts database holds */
export async function takeOver(
  partitions: readonly TopicPartition[],
  io: TakeoverIo,
  signal: AbortSignal,
): Promise<TakenOver> {
  const stored = partitions.length === 0 ? [] : await io.takeOwnership(partitions, signal);
  await failpoint('sink.taken-over');
  const { owned, halted } = await retry(() => compareWithKafka(io, stored), {
    backOff: { firstMs: BETWEEN_CHECKS_MS, longestMs: BETWEEN_CHECKS_MS },
    isTransient: (error, attempt) => mayPass(error) && attempt < END_CHECKS,
    signal,
  });
  const learnt = owned.filter(({ topicId }, index) => topicId !== stored[index]!.topicId);
  const unknown = owned.filter(({ topicId, nextOffset }, index) => {
    return topicId !== null && stored[index]!.topicId === null && nextOffset > 0n;
  });
  for (const [first] of Map.groupBy(unknown, ({ topic }) => topic).values()) io.onTopicIdUnknown(first!);
  if (learnt.length > 0) await io.recordTopicIds(learnt, signal);
  return { owned, halted };
}

/**
 * A new leader may not know the high watermark of the old one for a moment, and then seems to end too early; a broker may
 * not have heard yet which topic has the name.
 */
const END_CHECKS = 3;
const mayPass = (error: unknown): boolean =>
  error instanceof OffsetBeyondEndError || error instanceof TopicRecreatedError;
const BETWEEN_CHECKS_MS = 1_000;

async function compareWithKafka(
  { readRanges, readTopicId }: TakeoverIo,
  stored: readonly Ownership[],
): Promise<TakenOver> {
  let beyondEnd: OffsetBeyondEndError | undefined;
  let recreated: TopicRecreatedError | undefined;
  const owned: Ownership[] = [];
  const lost = new Map<Ownership, RecordsLostError>();
  for (const [topic, ownerships] of Map.groupBy(stored, ({ topic }) => topic)) {
    const topicId = await readTopicId(topic);
    const ranges = await readRanges(topic);
    for (const row of ownerships) {
      const ownership = { ...row, topicId: topicId ?? row.topicId };
      owned.push(ownership);
      recreated ??= findRecreated(row, topicId);
      const { partition, nextOffset: expected, lastCommitLsn } = ownership;
      const range = ranges.get(partition);
      if (range === undefined) throw new Error(`Kafka returned no offsets for ${topic}[${partition}]`);
      const check = checkStart(expected, range);
      const found = { topic, partition, expected, lastCommitLsn, ...range };
      if (check === 'records-lost') lost.set(ownership, new RecordsLostError(found));
      if (check === 'beyond-end') beyondEnd ??= new OffsetBeyondEndError(found);
    }
  }
  const gap = beyondEnd ?? recreated;
  if (gap !== undefined) throw gap;
  return { owned, halted: lost };
}

/** Of which nothing was consumed may be created again: nothing is lost by it. */
function findRecreated(row: Ownership, topicId: string | null): TopicRecreatedError | undefined {
  if (!isOtherTopic(row.topicId, topicId) || row.nextOffset === 0n) return undefined;
  return new TopicRecreatedError({ ...row, expected: row.topicId!, found: topicId! });
}
