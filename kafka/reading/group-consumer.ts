// One consumer-group session, from join to leave, over kafkajs: which partitions are assigned, and their fetched records.
// Guarantees: nothing is fetched from an assigned partition before `start` has named its offset (kafkajs does not await
// listeners, so partitions are paused in the same turn); the offsets that the group has in Kafka are never read; heartbeats
// go on while a batch is applied; a failure is reported once, also when kafkajs falls silent. Left to the caller: offsets,
// whether a fetch continues them, and every restart (kafkajs's own are off: they would hide what happened).

import type { Consumer, EachBatchPayload, Kafka } from 'kafkajs';
import type { KafkajsMessage } from '#kafka/protocol/kafkajs-messages.ts';
import type { LogRecord } from '#kafka/protocol/record.ts';
import { withDeadline } from '#service/deadline.ts';
import { failpoint } from '#service/failpoint.ts';
import type { HaltError } from '#service/halt.ts';
import type { Logger } from '#service/logger.ts';
import { watchForSilence } from './watch-for-silence.ts';

export interface GroupPartition {
  readonly topic: string;
  readonly partition: number;
}

/** The records of one partition in one fetch: they lie within `firstOffset` to `lastOffset`, with gaps. */
export interface FetchedBatch extends GroupPartition {
  readonly firstOffset: bigint;
  /** Counts control and aborted records too; -1 where nothing precedes `unreadable`. */
  readonly lastOffset: bigint;
  readonly records: readonly LogRecord[];
  /** Of the batches of the first and the last record; undefined without records. */
  readonly leaderEpochs?: { readonly first: number; readonly last: number };
  /** What follows `lastOffset` can't be read: `records` are good, and the partition can go no further. */
  readonly unreadable?: HaltError;
}

export interface GroupHandlers {
  /** Exactly these partitions are assigned now; they are paused until `start`. */
  onAssigned(partitions: readonly GroupPartition[]): void;
  /** One batch at a time per partition. Call `passed` for every applied offset. Must not throw; must end on `signal`. */
  onBatch(batch: FetchedBatch, passed: (lastOffset: bigint) => void, signal: AbortSignal): Promise<void>;
  /** The fetch held control or aborted records only, and kafkajs moved past them by itself. */
  onSkipped(batch: FetchedBatch): void;
  /** The session failed and does not recover: close it. */
  onFailed(error: Error): void;
}

export interface GroupConsumer {
  /** Starts fetching assigned partitions, each from its offset. */
  start(positions: readonly (GroupPartition & { readonly offset: bigint })[]): void;
  /** Fetches nothing from a partition until it is started again, in this session or the next. */
  pause(partition: GroupPartition): void;
  /** Commits offsets to Kafka for its lag tools only; a failure is harmless. */
  report(positions: readonly (GroupPartition & { readonly offset: bigint })[]): Promise<void>;
  /** Leaves the group after the batches in progress; waits a few seconds at most. */
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

/** How many session timeouts the group waits for its members to rejoin when it rebalances. */
const REBALANCE_SESSIONS = 2;
const CLOSE_LIMIT_MS = 4_000;
const METADATA_MAX_AGE_MS = 60_000;

export function createGroupConsumer(options: GroupConsumerOptions): GroupConsumer {
  const { handlers, logger } = options;
  const consumer = createConsumer(options);
  const inFlight = new Set<AbortController>();
  let closing = false;
  let failed = false;

  const fail = (error: Error): void => {
    if (closing || failed) return;
    failed = true;
    handlers.onFailed(error);
  };
  const eachBatch = async (payload: EachBatchPayload): Promise<void> => {
    await failpoint('sink.after-poll');
    if (closing || payload.isStale()) return;
    const abort = new AbortController();
    inFlight.add(abort);
    try {
      await handleBatch(payload, abort, options);
    } finally {
      inFlight.delete(abort);
    }
  };

  const watchdog = watchForSilence(consumer, rebalanceTimeoutMs(options), fail);
  listenToGroup(consumer, handlers, () => closing);
  consumer.on(consumer.events.CRASH, ({ payload }) => fail(payload.error));
  const running = runConsumer(consumer, options, eachBatch).catch(fail);

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
      await consumer.commitOffsets(offsets).catch((error: Error) => {
        logger.debug({ event: 'sink.report-failed', err: error }, "Offsets for Kafka's lag tools were not committed");
      });
    },
    close: async () => {
      closing = true;
      clearInterval(watchdog);
      for (const abort of inFlight) abort.abort();
      await withDeadline(leaveGroup(consumer, running, logger), CLOSE_LIMIT_MS, () => new Error('late')).catch(() => {
        logger.warn(
          { event: 'sink.leave-timeout' },
          'Leaving the consumer group took too long; its session will expire',
        );
      });
    },
  };
}

function rebalanceTimeoutMs({ sessionTimeoutMs }: GroupConsumerOptions): number {
  return REBALANCE_SESSIONS * sessionTimeoutMs;
}

function createConsumer(options: GroupConsumerOptions): Consumer {
  return options.kafka.consumer({
    groupId: options.groupId,
    sessionTimeout: options.sessionTimeoutMs,
    rebalanceTimeout: rebalanceTimeoutMs(options),
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
}

async function runConsumer(
  consumer: Consumer,
  { topics, concurrency }: GroupConsumerOptions,
  eachBatch: (payload: EachBatchPayload) => Promise<void>,
): Promise<void> {
  await consumer.connect();
  // "From the beginning" is where kafkajs jumps to when an offset is out of range; the caller's offset checks detect that.
  await consumer.subscribe({ topics: [...topics], fromBeginning: true });
  await consumer.run({
    autoCommit: false,
    eachBatchAutoResolve: false,
    partitionsConsumedConcurrently: concurrency,
    eachBatch,
  });
}

function listenToGroup(consumer: Consumer, handlers: GroupHandlers, isClosing: () => boolean): void {
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    if (isClosing()) return;
    const assigned = Object.entries(payload.memberAssignment).map(([topic, partitions]) => ({ topic, partitions }));
    consumer.pause(assigned);
    handlers.onAssigned(
      assigned.flatMap(({ topic, partitions }) => partitions.map((partition) => ({ topic, partition }))),
    );
  });
  consumer.on(consumer.events.END_BATCH_PROCESS, ({ payload }) => {
    const { topic, partition, batchSize, firstOffset, lastOffset } = payload;
    // The first offset is null if the fetch held nothing at or after the wanted offset.
    if (isClosing() || batchSize > 0 || firstOffset === null) return;
    const offsets = { firstOffset: BigInt(firstOffset), lastOffset: BigInt(lastOffset) };
    handlers.onSkipped({ topic, partition, ...offsets, records: [] });
  });
}

/** Sends heartbeats while `onBatch` runs; one that fails aborts it. */
async function handleBatch(
  { batch, heartbeat, resolveOffset }: EachBatchPayload,
  abort: AbortController,
  { handlers, heartbeatIntervalMs }: GroupConsumerOptions,
): Promise<void> {
  let lost: Error | undefined;
  const beat = setInterval(() => {
    heartbeat().catch((error: Error) => {
      lost ??= error;
      abort.abort();
    });
  }, heartbeatIntervalMs / 2);
  try {
    const passed = (lastOffset: bigint) => resolveOffset(String(lastOffset));
    await handlers.onBatch(toFetchedBatch(batch), passed, abort.signal);
  } finally {
    clearInterval(beat);
  }
  // kafkajs rejoins a rebalancing group only because of an error thrown here.
  if (lost !== undefined) throw lost;
}

/** kafkajs can't stop a consumer that is still joining (`running`): it would start afterwards and keep its partitions. */
async function leaveGroup(consumer: Consumer, running: Promise<void>, logger: Logger): Promise<void> {
  await running;
  await consumer.disconnect().catch((error: Error) => {
    logger.debug(
      { event: 'sink.leave-failed', err: error },
      'Leaving the consumer group failed; its session will expire',
    );
  });
}

function toFetchedBatch(batch: EachBatchPayload['batch']): FetchedBatch {
  const { topic, partition } = batch;
  const messages = batch.messages as unknown as readonly KafkajsMessage[];
  const unreadable = messages.at(-1)?.unreadable;
  const readable = unreadable === undefined ? messages : messages.slice(0, -1);
  const records = readable.map(({ offset, key, value, headers }) => ({ offset: BigInt(offset), key, value, headers }));
  // Never null here: kafkajs does not pass an empty batch.
  const firstOffset = BigInt(batch.firstOffset()!);
  const [first, last] = [readable[0], readable.at(-1)];
  const place = { topic, partition, firstOffset, records };
  const epochs = first && last && { leaderEpochs: { first: first.leaderEpoch, last: last.leaderEpoch } };
  if (unreadable === undefined) return { ...place, ...epochs, lastOffset: BigInt(batch.lastOffset()) };
  return { ...place, ...epochs, lastOffset: records.at(-1)?.offset ?? -1n, unreadable };
}
