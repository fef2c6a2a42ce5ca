// What one start needs of Kafka before it may publish: the topics, the log, and the checkpoint topic. Holds no
// producer: that fences, and is a step of its own. Closing it cuts its connections.

import { setTimeout as delay } from 'node:timers/promises';
import type { Lsn } from '#schemas/lsn.ts';
import { createConnections, createKafkaClient } from '#service/kafka-client.ts';
import type { KafkaLog } from '#service/kafka-log.ts';
import { createKafkaLog } from '#service/kafka-log.ts';
import { describeTopics } from '#service/kafka-topics.ts';
import type { Logger } from '#service/logger.ts';
import type { CdcReaderConfig } from '../config.ts';
import { LiveTopicMissingError } from '../errors.ts';
import { type CheckpointTopic, createCheckpointTopic } from './checkpoint-topic.ts';
import { ensureTopics, type TopicSpec } from './topics.ts';
import { createTransactionalProducer, type TransactionalProducer } from './transactional-producer.ts';

/** How long one read of the checkpoint or of a partition's end may go without progress. */
export const READ_DEADLINE_MS = 10_000;

export interface KafkaConnection {
  readonly log: KafkaLog;
  readonly checkpointTopic: CheckpointTopic;
  /** `isExpected`: it is missing only when brokers say so for a while, since one may not know of it yet. */
  hasCheckpointTopic(isExpected: boolean): Promise<boolean>;
  /**
   * Creates what is missing, checks what is there; where something was published, the live topic is expected to be
   * there. `readFlushLsn` is asked only for what a halt has to tell.
   * @throws LiveTopicMissingError, TopicMisconfiguredError, TopicMissingError
   */
  ensureTopics(published: { throughLsn: Lsn; readFlushLsn: () => Promise<Lsn> } | null): Promise<void>;
  /** The sum of the live topic's high watermarks; 0 when nothing was ever published, or it does not exist. */
  countLiveOffsets(isExpected: boolean): Promise<bigint>;
  close(): Promise<void>;
}

/** A request to Kafka is given up after this; elections and restarts take less. */
const REQUEST_TIMEOUT_MS = 30_000;

/** A broker that has just started, or is cut off from the controller, may deny a topic that exists. Nobody waits for a halt. */
const UNKNOWN_TOPIC_GRACE_MS = 5_000;
const LOOK_AGAIN_MS = 100;

/** Shuts every earlier reader of this slot out of Kafka, and gives the right to publish to this one. */
export function fence(config: CdcReaderConfig, logger: Logger): Promise<TransactionalProducer> {
  return createTransactionalProducer({
    brokers: config.kafkaBrokers,
    clientId: config.applicationName,
    transactionalId: config.transactionalId,
    transactionTimeoutMs: config.transactionTimeoutMs,
    requestTimeoutMs: Math.min(config.transactionTimeoutMs, REQUEST_TIMEOUT_MS),
    logger,
  });
}

/** @throws KafkaAwayError */
export async function openKafka(config: CdcReaderConfig, logger: Logger): Promise<KafkaConnection> {
  const client = { brokers: config.kafkaBrokers, clientId: config.applicationName, logger };
  const connections = createConnections(config.kafkaBrokers);
  const kafka = createKafkaClient({ ...client, connections });
  const log = await createKafkaLog(client).catch((error) => {
    connections.close();
    throw error;
  });

  /** With connections of its own: another broker may answer each time. */
  const look = async (topic: string): Promise<boolean> => {
    const admin = kafka.admin();
    try {
      await admin.connect();
      return (await describeTopics(admin, [topic])).get(topic)!.exists;
    } finally {
      await admin.disconnect();
    }
  };
  const hasTopic = async (topic: string, isExpected: boolean): Promise<boolean> => {
    const giveUpMs = performance.now() + (isExpected ? UNKNOWN_TOPIC_GRACE_MS : 0);
    for (;;) {
      const lookMs = performance.now();
      if (await look(topic)) return true;
      if (lookMs >= giveUpMs) return false;
      await delay(LOOK_AGAIN_MS);
    }
  };

  const common = { replicationFactor: config.topicReplication, minInsyncReplicas: config.topicMinInsyncReplicas };
  const events = {
    ...common,
    partitions: config.topicPartitions,
    retentionMs: config.topicRetentionMs,
    cleanupPolicy: 'delete' as const,
  };
  const topics: readonly TopicSpec[] = [
    { name: config.checkpointTopic, ...common, partitions: 1, retentionMs: -1, cleanupPolicy: 'compact' },
    { name: config.ordersTopic, ...events },
    { name: config.replayTopic, ...events },
  ];

  return {
    log,
    checkpointTopic: createCheckpointTopic({ log, topic: config.checkpointTopic, slotName: config.slotName }),
    hasCheckpointTopic: (isExpected) => hasTopic(config.checkpointTopic, isExpected),
    async ensureTopics(published) {
      if (published !== null && !(await hasTopic(config.ordersTopic, true))) {
        throw new LiveTopicMissingError(config.ordersTopic, published.throughLsn, await published.readFlushLsn());
      }
      await ensureTopics({ kafka, topics, logger });
    },
    async countLiveOffsets(isExpected) {
      if (!(await hasTopic(config.ordersTopic, isExpected))) return 0n;
      const offsets = await log.readOffsets(config.ordersTopic, READ_DEADLINE_MS);
      return [...offsets.values()].reduce((sum, { highWatermark }) => sum + highWatermark, 0n);
    },
    async close() {
      connections.close();
      await log.close();
    },
  };
}
