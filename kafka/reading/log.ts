// Reads partitions by offset, without a consumer group. Guarantees: a read ends at the wanted offset whatever lies before
// it (control and aborted records, gaps left by compaction), follows leaders when they move and brokers when they come
// back, and fails with a named error at its deadline. It never jumps: an offset that the partition does not hold is an
// error (I11). The requests themselves are left to partition-client.ts.

import {
  isKafkajsError,
  KafkaUnavailableError,
  kafkaErrorType,
  LogReadDeadlineError,
  TopicMissingError,
} from '#kafka/errors.ts';
import type { LogRecord } from '#kafka/protocol/record.ts';
import { type FirstUnit, findFirstUnit } from '#kafka/reading/first-unit.ts';
import type { KafkaServers } from '#kafka/servers.ts';
import { withDeadline } from '#service/deadline.ts';
import type { Logger } from '#service/logger.ts';
import { type BackOff, retry } from '#service/retry.ts';
import { createPartitionClient, FETCH_BYTES, type FetchPosition, type PartitionClient } from './partition-client.ts';

export type { LogRecord };

export interface PartitionOffsets {
  readonly earliest: bigint;
  /** Last stable offset (LSO), where read_committed ends: the first record of the oldest open transaction, else the high watermark. */
  readonly lastStable: bigint;
  /** One past the last record that all in-sync replicas have; control records count. */
  readonly highWatermark: bigint;
}

/** `fromOffset`: the partition must hold it, or end there. */
export interface ReadOptions extends FetchPosition {
  /** Where to end, exclusive; beyond the high watermark, the read waits for it. */
  readonly untilOffset: bigint;
  /** How long to wait without progress, in milliseconds; the caller's work between batches does not count. */
  readonly deadlineMs: number;
}

export interface KafkaLog {
  /** Offsets of every partition, read in the order earliest, last stable, high watermark. `deadlineMs` is 10,000. */
  readOffsets(topic: string, deadlineMs?: number): Promise<Map<number, PartitionOffsets>>;
  /**
   * The id that Kafka gave the topic when it was created: another one, and the topic was deleted and created again. Null
   * where the brokers have none (before Kafka 2.8). A broker may return the old one for a moment. `deadlineMs` is 10,000.
   */
  readTopicId(topic: string, deadlineMs?: number): Promise<string | null>;
  /**
   * Yields non-empty batches of records in offset order. Throws `OffsetOutOfRangeError`, `TopicMissingError`,
   * `LogReadDeadlineError`, `BatchUnreadableError`, `BatchTooLargeError`.
   */
  readRecords(options: ReadOptions): AsyncIterable<readonly LogRecord[]>;
  /** Cuts the connections; pending reads reject. */
  close(): Promise<void>;
}

/** For whoever has to go past what can't be read. */
export interface UnitReader {
  /** The first committed record from `fromOffset` on, or the batch that can't be read and stands before it. */
  readFirstUnit(read: Omit<ReadOptions, 'isolation'>): Promise<FirstUnit>;
}

/** A new topic is unknown to some brokers for a moment; after this long it does not exist. */
const UNKNOWN_TOPIC_GRACE_MS = 1_500;
const BACK_OFF: BackOff = { firstMs: 5, longestMs: 250 };

async function listAllOffsets(client: PartitionClient, topic: string): Promise<Map<number, PartitionOffsets>> {
  const earliest = await client.listOffsets(topic, 'earliest');
  const lastStable = await client.listOffsets(topic, 'last-stable');
  const highWatermark = await client.listOffsets(topic, 'high-watermark');
  const offsets = (partition: number): PartitionOffsets => ({
    earliest: earliest.get(partition)!,
    lastStable: lastStable.get(partition)!,
    highWatermark: highWatermark.get(partition)!,
  });
  return new Map([...earliest.keys()].sort((a, b) => a - b).map((partition) => [partition, offsets(partition)]));
}

/** Creates a {@link KafkaLog}; throws `KafkaUnavailableError` when no broker can be reached. `requestTimeoutMs` is 10,000. */
export async function createKafkaLog(options: {
  kafka: KafkaServers;
  clientId: string;
  logger: Logger;
  requestTimeoutMs?: number;
}): Promise<KafkaLog & UnitReader> {
  const client = await createPartitionClient({ requestTimeoutMs: 10_000, ...options });
  let closed = false;

  /** Retries `request` while Kafka is the cause; after `deadlineMs`, throws what `onDeadline` makes of the last error. */
  async function retryUntil<T>(
    { topic, deadlineMs }: { topic: string; deadlineMs: number },
    request: (signal: AbortSignal) => Promise<T>,
    onDeadline: (lastError: unknown) => Error,
  ): Promise<T> {
    const missingFromMs = performance.now() + Math.min(UNKNOWN_TOPIC_GRACE_MS, deadlineMs / 2);
    const late = new AbortController();
    let lastError: unknown;
    const isTransient = (error: unknown): boolean => {
      if (closed || !isKafkajsError(error)) return false;
      lastError = error;
      const isUnknown = kafkaErrorType(error) === 'UNKNOWN_TOPIC_OR_PARTITION';
      if (isUnknown && performance.now() >= missingFromMs) {
        throw new TopicMissingError(topic, 'The reader creates it when it starts, if it may.', { cause: error });
      }
      return true;
    };
    const onRetry = (error: unknown): void => {
      client.forgetLeaders(topic);
      if ((error as Error).name === 'KafkaJSRequestTimeoutError') client.reconnect();
    };
    try {
      const { signal } = late;
      const result = retry(() => request(signal), { backOff: BACK_OFF, isTransient, onRetry, signal });
      return await withDeadline(result, deadlineMs, () => onDeadline(lastError));
    } finally {
      late.abort();
    }
  }

  return {
    async readOffsets(topic, deadlineMs = 10_000) {
      const what = `Reading the offsets of ${topic} took longer than ${deadlineMs} ms`;
      return retryUntil(
        { topic, deadlineMs },
        () => listAllOffsets(client, topic),
        (cause) => new KafkaUnavailableError(what, { cause }),
      );
    },

    readTopicId(topic, deadlineMs = 10_000) {
      const what = `Reading the id of ${topic} took longer than ${deadlineMs} ms`;
      return retryUntil(
        { topic, deadlineMs },
        () => client.readTopicId(topic),
        (cause) => new KafkaUnavailableError(what, { cause }),
      );
    },

    async *readRecords(read) {
      let position = read.fromOffset;
      while (position < read.untilOffset) {
        const at = { ...read, fromOffset: position };
        const fetchProgress = async (signal: AbortSignal) => {
          for (;;) {
            const fetched = await client.fetch(at);
            if (fetched.nextOffset > at.fromOffset) return fetched;
            signal.throwIfAborted();
          }
        };
        const { records, nextOffset } = await retryUntil(read, fetchProgress, (cause) => {
          return new LogReadDeadlineError({ ...read, position: at.fromOffset }, { cause });
        });
        position = nextOffset;
        const wanted = records.filter(({ offset }) => offset < read.untilOffset);
        if (wanted.length > 0) yield wanted;
      }
    },

    async readFirstUnit(read) {
      const { untilOffset: stableOffset, topic, partition } = read;
      const find = async (fromOffset: bigint, maxBytes = FETCH_BYTES): Promise<FirstUnit> => {
        const at = { topic, partition, fromOffset, maxBytes, isolation: 'read_committed' as const };
        const fetchUnit = async () => {
          const { batches, aborted } = await client.fetchBatches(at);
          return findFirstUnit(batches, { ...at, aborted, stableOffset });
        };
        return retryUntil(read, fetchUnit, (cause) => {
          return new LogReadDeadlineError({ ...read, position: fromOffset }, { cause });
        });
      };
      for (let position = read.fromOffset; ; ) {
        let unit = await find(position);
        // A batch that fills an answer hides what follows it.
        if (unit.kind === 'uncertain') unit = await find(position, 2 * FETCH_BYTES + unit.batchBytes);
        if (unit.kind !== 'none' || unit.nextOffset >= stableOffset) return unit;
        position = unit.nextOffset;
      }
    },

    async close() {
      closed = true;
      await client.close();
    },
  };
}
