// What one start of the reader needs of Kafka before it may publish: topics, log and checkpoint topic, by the reader's
// configuration. It holds no producer: creating that fences, and is a step of its own. Closing it cuts its connections.
import { setTimeout as delay } from 'node:timers/promises';
import { type CheckpointTopic, createCheckpointTopic } from '#kafka/checkpoint-topic.ts';
import { createKafkaClient } from '#kafka/client.ts';
import { createConnections } from '#kafka/connections.ts';
import { ensureTopics, type TopicSpec } from '#kafka/create-topics.ts';
import { createTransactionalProducer, type TransactionalProducer } from '#kafka/producer/transactional-producer.ts';
import { createKafkaLog, type KafkaLog } from '#kafka/reading/log.ts';
import { describeTopics, withAdmin } from '#kafka/topics.ts';
import type { Lsn } from '#schemas/lsn.ts';
import type { Logger } from '#service/logger.ts';
import type { CdcReaderConfig } from '../config.ts';
import { LiveTopicMissingError } from '../errors.ts';
import type { SourceSession } from '../postgres/source-session.ts';

/** How long one read of the checkpoint or of the end of a partition may make no progress. */
export const READ_DEADLINE_MS = 10_000;

export interface KafkaConnection {
  readonly log: KafkaLog;
  readonly checkpointTopic: CheckpointTopic;
  /** `isExpected`: it counts as missing only when brokers report so for a while, since one may not know of it yet. */
  hasCheckpointTopic(isExpected: boolean): Promise<boolean>;
  /**
   * Creates the missing topics and checks the others. If something was published, the live topic is expected to exist.
   * `source` is read only for the message of a halt.
   * @throws LiveTopicMissingError, TopicMisconfiguredError, TopicMissingError
   */
  ensureTopics(published: { throughLsn: Lsn; source: Pick<SourceSession, 'readCurrentWal'> } | null): Promise<void>;
  /** The sum of the live topic's high watermarks; 0 if nothing was ever published or the topic does not exist. */
  countLiveOffsets(isExpected: boolean): Promise<bigint>;
  close(): Promise<void>;
}

/** A request to Kafka fails after this; leader elections and broker restarts take less. */
const REQUEST_TIMEOUT_MS = 30_000;

/** A broker that has just started, or is cut off from the controller, may not know a topic that exists. A halt can wait that long. */
const UNKNOWN_TOPIC_GRACE_MS = 5_000;
const UNKNOWN_TOPIC_POLL_MS = 100;

/** Fences every earlier reader of this slot; the returned producer may publish. */
export function fence(config: CdcReaderConfig, logger: Logger): Promise<TransactionalProducer> {
  return createTransactionalProducer({
    kafka: config.kafka,
    clientId: config.applicationName,
    transactionalId: config.transactionalId,
    transactionTimeoutMs: config.transactionTimeoutMs,
    compression: config.compression,
    requestTimeoutMs: Math.min(config.transactionTimeoutMs, REQUEST_TIMEOUT_MS),
    logger,
  });
}

/** @throws KafkaUnavailableError */
export async function openKafka(config: CdcReaderConfig, logger: Logger): Promise<KafkaConnection> {
  const client = { kafka: config.kafka, clientId: config.applicationName, logger };
  const connections = createConnections(config.kafka);
  const kafka = createKafkaClient({ ...client, connections });
  const log = await createKafkaLog(client).catch((error) => {
    connections.close();
    throw error;
  });

  // Each time over new connections, since another broker may respond.
  const describesTopic = (topic: string): Promise<boolean> =>
    withAdmin(kafka, async (admin) => (await describeTopics(admin, [topic])).get(topic)!.exists);
  const hasTopic = async (topic: string, isExpected: boolean): Promise<boolean> => {
    const giveUpMs = performance.now() + (isExpected ? UNKNOWN_TOPIC_GRACE_MS : 0);
    for (;;) {
      const startMs = performance.now();
      if (await describesTopic(topic)) return true;
      if (startMs >= giveUpMs) return false;
      await delay(UNKNOWN_TOPIC_POLL_MS);
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
        const { flushLsn } = await published.source.readCurrentWal();
        throw new LiveTopicMissingError(config.ordersTopic, published.throughLsn, flushLsn);
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
