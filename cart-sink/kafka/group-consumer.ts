/**
 * One membership in the consumer group, as kafkajs gives it: which partitions are ours, and their fetched records.
 *
 * Guarantees: nothing is fetched from an assigned partition before `start` was told where to (trap 6: kafkajs does not
 * await listeners, so they are paused in the same turn); the group's own offsets are never read; heartbeats go on while
 * a batch is being applied; the end is told once, also when kafkajs falls silent. Leaves to the pipeline: offsets,
 * whether a fetch continues them, and every restart (kafkajs's own are off, they would hide what happened).
 */
import type { Consumer, EachBatchPayload, Kafka } from 'kafkajs';
import { failpoint } from '#service/failpoint.ts';
import type { Logger } from '#service/logger.ts';

export interface GroupPartition {
  readonly topic: string;
  readonly partition: number;
}

export interface FetchedRecord {
  readonly offset: bigint;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly headers: Readonly<Record<string, Buffer | undefined>>;
}

/** What one fetch gave of one partition: `records` lie within `firstOffset` to `lastOffset`, with gaps. */
export interface FetchedBatch extends GroupPartition {
  readonly firstOffset: bigint;
  /** Counts control and aborted records too. */
  readonly lastOffset: bigint;
  readonly records: readonly FetchedRecord[];
}

export interface GroupHandlers {
  /** The group gave us exactly these; they are paused until `start`. */
  onAssigned(partitions: readonly GroupPartition[]): void;
  /** One at a time a partition. Call `passed` for every offset applied. Must not throw; `signal` says to come back. */
  onBatch(batch: FetchedBatch, passed: (lastOffset: bigint) => void, signal: AbortSignal): Promise<void>;
  /** Control or aborted records only: kafkajs went past them by itself. */
  onSkipped(batch: FetchedBatch): void;
  /** The membership failed and will not recover; close it. */
  onFailed(error: Error): void;
}

export interface GroupConsumer {
  /** Begins fetching assigned partitions, each from its offset. */
  start(positions: readonly (GroupPartition & { readonly offset: bigint })[]): void;
  /** Fetches nothing from a partition until it is started again, in this membership or the next. */
  pause(partition: GroupPartition): void;
  /** Tells Kafka how far we are, for its lag tools; failing to is harmless. */
  report(positions: readonly (GroupPartition & { readonly offset: bigint })[]): Promise<void>;
  /** Leaves the group, after the batches in progress; gives up waiting for an absent Kafka after a few seconds. */
  close(): Promise<void>;
}

export interface GroupConsumerOptions {
  readonly kafka: Kafka;
  readonly groupId: string;
  readonly topics: readonly string[];
  readonly sessionTimeoutMs: number;
  readonly heartbeatIntervalMs: number;
  readonly fetchMaxWaitMs: number;
  readonly fetchMaxBytes: number;
  readonly fetchMaxBytesPerPartition: number;
  /** How many partitions' batches are applied at the same time. */
  readonly concurrency: number;
  readonly logger: Logger;
  readonly handlers: GroupHandlers;
}

/** Members may need this many sessions to come back when the group rebalances; then it goes on without them. */
const REBALANCE_SESSIONS = 2;
/** A joined member that shows no sign of life for this long hangs in kafkajs: its longest request takes 30 s. */
const SILENCE_LIMIT_MS = 60_000;
const CLOSE_LIMIT_MS = 4_000;
const METADATA_MAX_AGE_MS = 60_000;

export function createGroupConsumer(options: GroupConsumerOptions): GroupConsumer {
  const { handlers, logger } = options;
  const rebalanceTimeoutMs = REBALANCE_SESSIONS * options.sessionTimeoutMs;
  const consumer = options.kafka.consumer({
    groupId: options.groupId,
    sessionTimeout: options.sessionTimeoutMs,
    rebalanceTimeout: rebalanceTimeoutMs,
    heartbeatInterval: options.heartbeatIntervalMs,
    maxWaitTimeInMs: options.fetchMaxWaitMs,
    minBytes: 1,
    maxBytes: options.fetchMaxBytes,
    maxBytesPerPartition: options.fetchMaxBytesPerPartition,
    metadataMaxAge: METADATA_MAX_AGE_MS,
    allowAutoTopicCreation: false,
    readUncommitted: false,
    retry: { initialRetryTime: 100, maxRetryTime: 1_000, retries: 5, restartOnFailure: async () => false },
  });
  const inFlight = new Set<AbortController>();
  let closing = false;
  let failed = false;

  const fail = (error: Error): void => {
    if (closing || failed) return;
    failed = true;
    handlers.onFailed(error);
  };

  const eachBatch = async (payload: EachBatchPayload): Promise<void> => {
    const { batch, heartbeat, resolveOffset, isStale } = payload;
    await failpoint('sink.after-poll');
    if (closing || isStale()) return;
    const abort = new AbortController();
    let lost: Error | undefined;
    const beat = setInterval(() => {
      heartbeat().catch((error: Error) => {
        lost ??= error;
        abort.abort();
      });
    }, options.heartbeatIntervalMs / 2);
    inFlight.add(abort);
    try {
      const passed = (lastOffset: bigint) => resolveOffset(String(lastOffset));
      await handlers.onBatch(toFetchedBatch(batch), passed, abort.signal);
    } finally {
      clearInterval(beat);
      inFlight.delete(abort);
    }
    // kafkajs joins again when it learns that the group is rebalancing, and only from an error thrown here.
    if (lost !== undefined) throw lost;
  };

  const watchdog = watchForSilence(consumer, rebalanceTimeoutMs + SILENCE_LIMIT_MS, fail);
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    if (closing) return;
    const assigned = Object.entries(payload.memberAssignment).map(([topic, partitions]) => ({ topic, partitions }));
    consumer.pause(assigned);
    handlers.onAssigned(
      assigned.flatMap(({ topic, partitions }) => partitions.map((partition) => ({ topic, partition }))),
    );
  });
  consumer.on(consumer.events.END_BATCH_PROCESS, ({ payload }) => {
    // The first offset is null when a fetch held nothing at or after the wanted offset.
    if (closing || payload.batchSize > 0 || payload.firstOffset === null) return;
    const { topic, partition, firstOffset, lastOffset } = payload;
    handlers.onSkipped({
      topic,
      partition,
      firstOffset: BigInt(firstOffset),
      lastOffset: BigInt(lastOffset),
      records: [],
    });
  });
  consumer.on(consumer.events.CRASH, ({ payload }) => fail(payload.error));

  const run = async (): Promise<void> => {
    await consumer.connect();
    // "From the beginning" is only where kafkajs jumps to when an offset is out of range; the pipeline notices.
    await consumer.subscribe({ topics: [...options.topics], fromBeginning: true });
    await consumer.run({
      autoCommit: false,
      eachBatchAutoResolve: false,
      partitionsConsumedConcurrently: options.concurrency,
      eachBatch,
    });
  };
  const running = run().catch(fail);

  return {
    start: (positions) => {
      if (closing) return;
      for (const { topic, partition, offset } of positions) {
        consumer.seek({ topic, partition, offset: String(offset) });
        consumer.resume([{ topic, partitions: [partition] }]);
      }
    },
    pause: ({ topic, partition }) => {
      if (!closing) consumer.pause([{ topic, partitions: [partition] }]);
    },
    report: async (positions) => {
      if (closing || failed || positions.length === 0) return;
      const offsets = positions.map(({ topic, partition, offset }) => ({ topic, partition, offset: String(offset) }));
      try {
        await consumer.commitOffsets(offsets);
      } catch (error) {
        logger.debug({ event: 'sink.report-failed', err: error }, "Kafka's lag tools were not told the offsets");
      }
    },
    close: async () => {
      closing = true;
      clearInterval(watchdog);
      for (const abort of inFlight) abort.abort();
      const leave = async (): Promise<void> => {
        // kafkajs can't stop a consumer that is still joining: it would come alive afterwards and keep partitions.
        await running;
        await consumer.disconnect().catch((error: Error) => {
          logger.debug({ event: 'sink.leave-failed', err: error }, 'the group was not left; its session will expire');
        });
      };
      await withinMs(CLOSE_LIMIT_MS, leave(), () => {
        logger.warn({ event: 'sink.leave-timeout' }, 'the group could not be left in time; its session will expire');
      });
    },
  };
}

function toFetchedBatch(batch: EachBatchPayload['batch']): FetchedBatch {
  const { topic, partition, messages } = batch;
  // kafkajs has decoded the headers already: this passes them on. One that comes twice is an array, and no reader of
  // headers takes an array's text for a value.
  const records = messages.map(({ offset, key, value, headers = {} }) => ({
    offset: BigInt(offset),
    key,
    value,
    headers: headers as Record<string, Buffer>,
  }));
  // Never null here: kafkajs does not call with an empty batch.
  return {
    topic,
    partition,
    firstOffset: BigInt(batch.firstOffset()!),
    lastOffset: BigInt(batch.lastOffset()),
    records,
  };
}

/** kafkajs tells CRASH only after it has disconnected, which can hang: then nothing would ever happen again. */
function watchForSilence(consumer: Consumer, limitMs: number, fail: (error: Error) => void): NodeJS.Timeout {
  const { GROUP_JOIN, HEARTBEAT, FETCH, REBALANCING } = consumer.events;
  let lastMs = performance.now();
  const alive = (): void => {
    lastMs = performance.now();
  };
  consumer.on(GROUP_JOIN, alive);
  consumer.on(HEARTBEAT, alive);
  consumer.on(FETCH, alive);
  consumer.on(REBALANCING, alive);
  return setInterval(() => {
    if (performance.now() - lastMs > limitMs)
      fail(new Error(`the Kafka consumer gave no sign of life for ${limitMs} ms`));
  }, 1_000);
}

async function withinMs(limitMs: number, work: Promise<void>, onLate: () => void): Promise<void> {
  const { promise: late, resolve } = Promise.withResolvers<'late'>();
  const timer = setTimeout(() => resolve('late'), limitMs);
  try {
    if ((await Promise.race([work, late])) === 'late') onLate();
  } finally {
    clearTimeout(timer);
  }
}
