// Reading partitions by offset, without a consumer group. Guarantees: a read ends at the wanted offset whatever lies
// before it (control and aborted records, gaps left by compaction), follows leaders when they move and brokers when
// they come back, and gives up with a named error at its deadline. It never jumps: an offset that the partition does
// not hold is an error (I11). The requests themselves are in kafka-partition-client.ts.

import { setTimeout as delay } from 'node:timers/promises';
import { withDeadline } from '#service/kafka-deadline.ts';
import { KafkaAwayError, kafkaErrorType, LogReadDeadlineError, TopicMissingError } from '#service/kafka-errors.ts';
import { createPartitionClient, type Isolation } from '#service/kafka-partition-client.ts';
import type { LogRecord } from '#service/kafka-record-batch.ts';
import type { Logger } from '#service/logger.ts';

export type { LogRecord };

export interface PartitionOffsets {
  readonly earliest: bigint;
  /** Where read_committed ends now: the first record of the oldest open transaction, else the high watermark. */
  readonly lastStable: bigint;
  /** One beyond the last record that all in-sync replicas have; control records count. */
  readonly highWatermark: bigint;
}

export interface ReadOptions {
  readonly topic: string;
  readonly partition: number;
  /** First offset to read; the partition must hold it, or end there. */
  readonly fromOffset: bigint;
  /** Where to end, exclusive; at most the high watermark, else the read waits for it. */
  readonly untilOffset: bigint;
  readonly isolation: Isolation;
  /** How long to go without progress, in milliseconds; what the caller does between batches does not count. */
  readonly deadlineMs: number;
}

export interface KafkaLog {
  /** Offsets of every partition, read in the order earliest, last stable, high watermark. `deadlineMs` is 10,000. */
  readOffsets(topic: string, deadlineMs?: number): Promise<Map<number, PartitionOffsets>>;
  /**
   * Yields batches of records in offset order, none of them empty; their buffers are views of larger ones. Throws
   * `OffsetOutOfRangeError`, `TopicMissingError`, `LogReadDeadlineError`.
   */
  readRecords(options: ReadOptions): AsyncIterable<readonly LogRecord[]>;
  /** Cuts the connections; reads in progress reject. */
  close(): Promise<void>;
}

/** A topic just created is unknown to some brokers for a moment; after this long it does not exist. */
const unknownTopicGraceMs = 1_500;
const longestPauseMs = 250;

/** Creates a {@link KafkaLog}; throws `KafkaAwayError` when no broker can be reached. `requestTimeoutMs` is 10,000. */
export async function createKafkaLog(options: {
  brokers: readonly string[];
  clientId: string;
  logger: Logger;
  requestTimeoutMs?: number;
}): Promise<KafkaLog> {
  const client = await createPartitionClient({ requestTimeoutMs: 10_000, ...options });
  let closed = false;

  /** Attempts until one succeeds; throws what `giveUp` makes of the last error when `deadlineMs` have passed. */
  async function retry<T>(
    { topic, deadlineMs }: { topic: string; deadlineMs: number },
    attempt: () => Promise<T | undefined>,
    giveUp: (lastError: unknown) => Error,
  ): Promise<T> {
    const startMs = performance.now();
    let lastError: unknown;
    for (let pauseMs = 5; ; pauseMs = Math.min(pauseMs * 2, longestPauseMs)) {
      const leftMs = startMs + deadlineMs - performance.now();
      if (leftMs <= 0) throw giveUp(lastError);
      try {
        const result = await withDeadline(attempt(), leftMs, () => giveUp(lastError));
        if (result !== undefined) return result;
      } catch (error) {
        if (closed || !(error instanceof Error && error.name.startsWith('KafkaJS'))) throw error;
        lastError = error;
        const isUnknown = kafkaErrorType(error) === 'UNKNOWN_TOPIC_OR_PARTITION';
        if (isUnknown && performance.now() - startMs >= Math.min(unknownTopicGraceMs, deadlineMs / 2)) {
          throw new TopicMissingError(topic, 'The reader creates it when it starts, where it may.', { cause: error });
        }
        client.forgetLeaders(topic);
        if (error.name === 'KafkaJSRequestTimeoutError') client.reconnect();
        await delay(pauseMs);
      }
    }
  }

  return {
    async readOffsets(topic, deadlineMs = 10_000) {
      const attempt = async (): Promise<Map<number, PartitionOffsets>> => {
        const earliest = await client.listOffsets(topic, 'earliest');
        const lastStable = await client.listOffsets(topic, 'last-stable');
        const highWatermark = await client.listOffsets(topic, 'high-watermark');
        const offsets = (partition: number): PartitionOffsets => ({
          earliest: earliest.get(partition)!,
          lastStable: lastStable.get(partition)!,
          highWatermark: highWatermark.get(partition)!,
        });
        return new Map([...earliest.keys()].sort((a, b) => a - b).map((partition) => [partition, offsets(partition)]));
      };
      const away = `The offsets of ${topic} can't be read within ${deadlineMs} ms`;
      return retry({ topic, deadlineMs }, attempt, (cause) => new KafkaAwayError(away, { cause }));
    },

    async *readRecords(read) {
      let position = read.fromOffset;
      while (position < read.untilOffset) {
        const at = { ...read, fromOffset: position };
        const fetchProgress = async () => {
          const fetched = await client.fetch(at);
          return fetched.nextOffset > at.fromOffset ? fetched : undefined;
        };
        const { records, nextOffset } = await retry(read, fetchProgress, (cause) => {
          return new LogReadDeadlineError({ ...read, position: at.fromOffset }, { cause });
        });
        position = nextOffset;
        const wanted = records.filter(({ offset }) => offset < read.untilOffset);
        if (wanted.length > 0) yield wanted;
      }
    },

    async close() {
      closed = true;
      await client.close();
    },
  };
}
