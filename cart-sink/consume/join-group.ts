/**
 * Joins the stages of the sink, which know nothing of each other, to one consumer-group session: group-consumer (fetch)
 * → group-session (which partition) → pipeline (check, parse) → join-batches (which partitions together, retries) →
 * apply-batch (one transaction).
 */

import type { createKafkaClient } from '#kafka/client.ts';
import { createGroupConsumer } from '#kafka/reading/group-consumer.ts';
import type { KafkaLog } from '#kafka/reading/log.ts';
import type { Database } from '#service/database.ts';
import type { Logger } from '#service/logger.ts';
import { applyTogether } from '../apply/apply-batch.ts';
import { createBatchJoiner } from '../apply/join-batches.ts';
import { readStored, recordTopicIds, takeOwnership } from '../apply/ownership.ts';
import { type RetryReport, retryTransient } from '../apply/retry.ts';
import type { CartSinkConfig } from '../config.ts';
import type { SinkReporter } from '../metrics.ts';
import { recordHalt, type TopicPartition } from '../sql/consumer-offsets.ts';
import { GroupSession, type SessionOptions } from './group-session.ts';
import { findUnapplied } from './log-check.ts';
import { OwnedPartition } from './owned-partition.ts';
import type { AdmitReplay } from './replay-admission.ts';

export interface SessionContext {
  readonly config: CartSinkConfig;
  readonly database: Database;
  readonly reporter: SinkReporter;
  readonly logger: Logger;
  readonly retries: RetryReport;
  readonly admitReplay: AdmitReplay;
  readonly onState: (state: 'waiting-for-topics' | 'joining' | 'consuming') => void;
}

export const CLIENT_ID = 'tillstream-cart-sink';
/** One megabyte holds some 3,000 orders: enough for full batches, little to hold in memory. */
const FETCH_MAX_BYTES_PER_PARTITION = 256 * 1024;
const FETCH_MAX_BYTES = 2 * 1024 * 1024;

export function joinGroup(
  context: SessionContext,
  kafka: ReturnType<typeof createKafkaClient>,
  log: KafkaLog,
  topics: readonly string[],
): GroupSession {
  const { config, database, reporter, logger, retries } = context;
  const { consumerGroup } = config;
  const limits = { maxRecords: config.batchMaxRecords, maxBytes: config.batchMaxBytes };
  const stored = (partition: TopicPartition) => readStored(database.pool, consumerGroup, partition);
  const apply = createBatchJoiner({
    io: {
      applyTogether: (batches) => reporter.timed(batches, () => applyTogether(database, batches)),
      readStored: stored,
    },
    report: retries,
    limits,
    concurrency: config.sinkConcurrency,
  });
  const createPartition: SessionOptions['createPartition'] = (ownership, handlers) =>
    new OwnedPartition({
      ownership,
      consumerGroup,
      admitReplay: ownership.topic === config.replayTopic ? context.admitReplay : undefined,
      limits,
      apply,
      readStored: () => stored(ownership),
      findUnapplied: (position) => findUnapplied({ log, pool: database.pool, consumerGroup }, ownership, position),
      onApplied: reporter.applied,
      ...handlers,
    });
  return new GroupSession({
    createConsumer: (handlers) =>
      createGroupConsumer({
        kafka,
        servers: config.kafka,
        clientId: CLIENT_ID,
        groupId: consumerGroup,
        topics,
        sessionTimeoutMs: config.sessionTimeoutMs,
        heartbeatIntervalMs: config.heartbeatIntervalMs,
        fetchMaxWaitMs: config.fetchMaxWaitMs,
        fetchMaxBytes: FETCH_MAX_BYTES,
        fetchMaxBytesPerPartition: FETCH_MAX_BYTES_PER_PARTITION,
        logger,
        handlers,
      }),
    takeOwnership: (partitions, signal) =>
      retryTransient(() => takeOwnership(database.pool, consumerGroup, partitions), retries, signal),
    readRanges: (topic) => log.readOffsets(topic),
    readTopicId: (topic) => log.readTopicId(topic),
    recordTopicIds: (learnt, signal) =>
      retryTransient(() => recordTopicIds(database.pool, consumerGroup, learnt), retries, signal),
    onTopicIdUnknown: ({ topic, topicId }) => {
      logger.warn(
        { event: 'sink.topic-id-learnt', topic, topicId },
        `The stored offsets of ${topic} have no Kafka topic id, since an older version wrote them. The sink records ${topicId}, assuming that the topic was not recreated in between; a topic recreated later is detected.`,
      );
    },
    createPartition,
    onPaused: reporter.paused,
    onHalted: (ownership, error) => {
      reporter.partitionHalted(ownership, error);
      // For audit and replay; that it is not stored changes nothing here.
      database.pool.query(recordHalt(consumerGroup, ownership, error)).catch((cause) => {
        logger.warn(
          { event: 'sink.halt-not-stored', err: cause },
          `Writing the halt of ${ownership.topic}[${ownership.partition}] to consumer_offsets failed. The partition stays halted; audit and replay will not show why.`,
        );
      });
    },
    onAssigned: (owned, lost) => {
      context.onState('consuming');
      reporter.assigned(owned, lost);
    },
  });
}
