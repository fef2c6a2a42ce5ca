// A fetched partition in the shape that kafkajs's consumer takes, decoded by our own decoder: kafkajs's lacks snappy, lz4 and
// zstd, has no limit, verifies no checksum and gives out aborted records where aborted transactions overlap. Guarantees:
// what is not for the caller (control and aborted records, gaps) becomes control records, whose offsets kafkajs counts and
// which it returns to nobody; a batch that can't be read becomes one last message, so that the consumers of the other
// partitions go on. Pure.
import { BatchTooLargeError, BatchUnreadableError } from '#kafka/protocol/batch-errors.ts';
import type { HaltError } from '#service/halt.ts';
import type { FetchedPartition } from './fetch-response.ts';
import { type DecodedBatch, readBatches } from './record-batch.ts';

export interface KafkajsMessage {
  readonly offset: string;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly headers: Readonly<Record<string, Buffer>>;
  readonly isControlRecord: boolean;
  /** That of its batch. */
  readonly leaderEpoch: number;
  /** In place of the batch that can't be read. */
  readonly unreadable?: HaltError;
}

export interface KafkajsPartition {
  readonly partition: number;
  readonly errorCode: number;
  readonly highWatermark: string;
  readonly lastStableOffset: string;
  readonly preferredReadReplica: number;
  /** Empty: kafkajs has nothing to leave out any more. */
  readonly abortedTransactions: readonly [];
  readonly messages: readonly KafkajsMessage[];
}

/** Counts over the partitions of one response. */
export interface ResponseBudget {
  leftBytes: number;
}

/** Decodes batches until the response has used up its budget, and no more then: kafkajs fetches the rest again. */
export function toKafkajsPartition(
  topic: string,
  { partition, errorCode, highWatermark, lastStableOffset, ...fetched }: FetchedPartition,
  budget: ResponseBudget,
): KafkajsPartition {
  return {
    partition,
    errorCode,
    highWatermark: String(highWatermark),
    lastStableOffset: String(lastStableOffset),
    preferredReadReplica: fetched.preferredReadReplica,
    abortedTransactions: [],
    messages: budget.leftBytes > 0 ? decodeMessages(topic, partition, fetched, budget) : [],
  };
}

function decodeMessages(
  topic: string,
  partition: number,
  { batches, aborted }: Pick<FetchedPartition, 'batches' | 'aborted'>,
  budget: ResponseBudget,
): KafkajsMessage[] {
  const messages: KafkajsMessage[] = [];
  try {
    for (const batch of readBatches(batches, { topic, partition, aborted })) {
      addMessages(messages, batch);
      budget.leftBytes -= batch.expandedBytes;
      if (budget.leftBytes <= 0) break;
    }
  } catch (error) {
    if (!(error instanceof BatchUnreadableError || error instanceof BatchTooLargeError)) throw error;
    messages.push({ ...hidden(LAST_OFFSET, NO_EPOCH), isControlRecord: false, unreadable: error });
  }
  return messages;
}

/** No offset of a damaged batch is to be trusted; kafkajs drops messages that lie before the offset it asked for. */
const LAST_OFFSET = 2n ** 63n - 1n;
const NO_EPOCH = -1;
const NO_HEADERS: Readonly<Record<string, Buffer>> = Object.freeze(Object.create(null));

function addMessages(messages: KafkajsMessage[], batch: DecodedBatch): void {
  const { baseOffset, lastOffset, records, leaderEpoch } = batch;
  if (records[0]?.offset !== baseOffset) messages.push(hidden(baseOffset, leaderEpoch));
  for (const { offset, key, value, headers } of records) {
    messages.push({ offset: String(offset), key, value, headers, isControlRecord: false, leaderEpoch });
  }
  if ((records.at(-1)?.offset ?? baseOffset) !== lastOffset) messages.push(hidden(lastOffset, leaderEpoch));
}

function hidden(offset: bigint, leaderEpoch: number): KafkajsMessage {
  return { offset: String(offset), key: null, value: null, headers: NO_HEADERS, isControlRecord: true, leaderEpoch };
}
