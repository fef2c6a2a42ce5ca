// One consumer-group session, from join to leave: which partitions are assigned, by kafkajs, and their fetched records, by
// fetcher.ts. kafkajs never fetches: it has every partition paused from the turn of its assignment on, and its fetch loop only
// sends heartbeats, whatever the records take to apply. Guarantees: nothing is fetched from an assigned partition before `start`
// has named its offset; the offsets that the group has in Kafka are never read; from a rebalance on nothing of the assignment
// before is delivered; a failure is reported once, also where kafkajs reports none. Left to the caller: offsets, whether a fetch
// continues them, and every restart (kafkajs's own are off: they would hide what happened).

import type { Consumer, Kafka } from 'kafkajs';
import type { KafkaServers } from '#kafka/servers.ts';
import { withDeadline } from '#service/deadline.ts';
import { failpoint } from '#service/failpoint.ts';
import type { Logger } from '#service/logger.ts';
import type { FetchedBatch, GroupPartition } from './fetched-batch.ts';
import { Fetcher, type PartitionPosition } from './fetcher.ts';
import { watchGroup } from './watch-group.ts';

export interface GroupHandlers {
  /** Exactly these partitions are assigned now; nothing is fetched from them until `start`. */
  onAssigned(partitions: readonly GroupPartition[]): void;
  /** The group is rebalancing: another member may own what was assigned. */
  onRebalancing(): void;
  /** Resolves when the next records of this partition may be fetched. Must not reject. */
  onBatch(batch: FetchedBatch): Promise<void>;
  /** Kafka does not have the offset that comes next, or not the partition; it is fetched no further until it is started again. */
  onOutOfRange(partition: GroupPartition): void;
  /** The session failed and does not recover: close it. */
  onFailed(error: unknown): void;
}

export interface GroupConsumer {
  /** Starts fetching assigned partitions, each from its offset. */
  start(positions: readonly PartitionPosition[]): void;
  /** Fetches nothing from a partition until it is started again, in this session or the next. */
  pause(partition: GroupPartition): void;
  /** Commits offsets to Kafka for its lag tools only; a failure is harmless. */
  report(positions: readonly PartitionPosition[]): Promise<void>;
  /** Leaves the group; waits a few seconds at most. */
  close(): Promise<void>;
}

export interface GroupConsumerOptions {
  readonly kafka: Kafka;
  /** For the connections that records are fetched over. */
  readonly servers: KafkaServers;
  readonly clientId: string;
  readonly groupId: string;
  readonly topics: readonly string[];
  readonly sessionTimeoutMs: number;
  readonly heartbeatIntervalMs: number;
  readonly fetchMaxWaitMs: number;
  readonly fetchMaxBytes: number;
  readonly fetchMaxBytesPerPartition: number;
  readonly logger: Logger;
  readonly handlers: GroupHandlers;
}

/** How many session timeouts the group waits for its members to rejoin when it rebalances. */
const REBALANCE_SESSIONS = 2;
const CLOSE_LIMIT_MS = 4_000;
const METADATA_MAX_AGE_MS = 60_000;
/** How long kafkajs's fetch loop sleeps with nothing to fetch: between two checks whether a heartbeat is due. */
const IDLE_LOOP_MS = 250;

export function createGroupConsumer(options: GroupConsumerOptions): GroupConsumer {
  const { handlers, logger } = options;
  const consumer = createConsumer(options);
  let closing = false;
  let failed = false;
  /** Counts assignments and their ends. */
  let assignment = 0;

  const fail = (error: unknown): void => {
    if (closing || failed) return;
    failed = true;
    handlers.onFailed(error);
  };
  const fetcher = new Fetcher({
    kafka: options.servers,
    clientId: options.clientId,
    logger,
    maxWaitMs: options.fetchMaxWaitMs,
    maxBytes: options.fetchMaxBytes,
    maxBytesPerPartition: options.fetchMaxBytesPerPartition,
    onBatch: async (batch) => {
      const before = assignment;
      await failpoint('sink.after-poll');
      if (!closing && assignment === before) await handlers.onBatch(batch);
    },
    onOutOfRange: handlers.onOutOfRange,
    onFailed: fail,
  });

  const { heartbeatIntervalMs } = options;
  const watchdog = watchGroup(consumer, { rebalanceTimeoutMs: rebalanceTimeoutMs(options), heartbeatIntervalMs }, fail);
  const endAssignment = (): void => {
    assignment += 1;
    fetcher.stopAll();
  };
  consumer.on(consumer.events.REBALANCING, () => {
    endAssignment();
    if (!closing) handlers.onRebalancing();
  });
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    if (closing) return;
    const assigned = Object.entries(payload.memberAssignment).map(([topic, partitions]) => ({ topic, partitions }));
    consumer.pause(assigned);
    endAssignment();
    handlers.onAssigned(
      assigned.flatMap(({ topic, partitions }) => partitions.map((partition) => ({ topic, partition }))),
    );
  });
  consumer.on(consumer.events.CRASH, ({ payload }) => fail(payload.error));
  const running = runConsumer(consumer, options).catch(fail);

  return {
    start: (positions) => {
      if (!closing) fetcher.start(positions);
    },
    pause: (partition) => fetcher.stop(partition),
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
      await fetcher.close();
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
    maxWaitTimeInMs: Math.min(IDLE_LOOP_MS, options.heartbeatIntervalMs / 2),
    metadataMaxAge: METADATA_MAX_AGE_MS,
    allowAutoTopicCreation: false,
    retry: { initialRetryTime: 100, maxRetryTime: 1_000, retries: 5, restartOnFailure: async () => false },
  });
}

async function runConsumer(consumer: Consumer, { topics }: GroupConsumerOptions): Promise<void> {
  await consumer.connect();
  await consumer.subscribe({ topics: [...topics], fromBeginning: true });
  const eachBatch = async (): Promise<never> => {
    throw new Error('kafkajs fetched a partition that is paused');
  };
  await consumer.run({ autoCommit: false, eachBatchAutoResolve: false, partitionsConsumedConcurrently: 1, eachBatch });
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
