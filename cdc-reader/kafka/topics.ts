// The topics that the reader needs: it alone creates them, where it may. Guarantees: when this resolves, every topic
// exists and none would lose events or checkpoints by its settings; nothing existing is ever changed. Which settings
// are refused is decided in service/kafka-topics.ts.

import { setTimeout as delay } from 'node:timers/promises';
import type { Admin, Kafka } from 'kafkajs';
import { HaltError } from '#service/halt.ts';
import { KafkaAwayError, kafkaErrorType, TopicMissingError } from '#service/kafka-errors.ts';
import { describeTopics, judgeTopic, type TopicDescription } from '#service/kafka-topics.ts';
import type { Logger } from '#service/logger.ts';

export interface TopicSpec {
  readonly name: string;
  readonly partitions: number;
  /** Replicas; by default three, or as many as there are brokers. */
  readonly replicationFactor?: number | undefined;
  /** By default one less than the replicas, at least 1. */
  readonly minInsyncReplicas?: number | undefined;
  /** −1: for ever. Of no effect on a compacted topic. */
  readonly retentionMs: number;
  /** `compact` is for the checkpoint topic alone. */
  readonly cleanupPolicy: 'delete' | 'compact';
}

/** An existing topic's settings would lose data. */
export class TopicMisconfiguredError extends HaltError {
  override readonly code = 'TOPIC_MISCONFIGURED';

  constructor(topic: string, problems: readonly string[]) {
    super(`${problems.join('; ')}.`, { topic });
  }
}

const notAllowed = ['TOPIC_AUTHORIZATION_FAILED', 'CLUSTER_AUTHORIZATION_FAILED', 'POLICY_VIOLATION'];
/** Until every broker knows of a new topic. */
const creationDeadlineMs = 15_000;

/**
 * Creates those of `topics` that are missing, checks all, and returns what they are like. Throws `TopicMissingError`
 * with the command to run when it may not create one, {@link TopicMisconfiguredError} when one must not be used, and
 * `KafkaAwayError`.
 */
export async function ensureTopics(options: {
  kafka: Kafka;
  topics: readonly TopicSpec[];
  logger: Logger;
}): Promise<Map<string, TopicDescription>> {
  const { kafka, topics, logger } = options;
  const admin = kafka.admin();
  try {
    await admin.connect();
    const brokers = (await admin.describeCluster()).brokers.length;
    let described = await describeTopics(
      admin,
      topics.map(({ name }) => name),
    );
    const missing = topics.filter(({ name }) => !described.get(name)!.exists);
    if (missing.length > 0) {
      for (const topic of missing) {
        await createTopic(admin, topic, brokers);
        logger.info({ event: 'kafka.topic-created', topic: topic.name }, 'created a topic');
      }
      described = await describeCreated(admin, topics);
    }
    for (const { name, cleanupPolicy } of topics) {
      const { problems, warnings } = judgeTopic(described.get(name)!, { cleanupPolicy, brokers });
      if (problems.length > 0) throw new TopicMisconfiguredError(name, problems);
      for (const warning of warnings) logger.warn({ event: 'kafka.topic-warning', topic: name }, warning);
    }
    return described;
  } catch (error) {
    if (error instanceof Error && error.name.startsWith('KafkaJS')) {
      throw new KafkaAwayError("The topics can't be looked at", { cause: error });
    }
    throw error;
  } finally {
    await admin.disconnect();
  }
}

async function createTopic(admin: Admin, topic: TopicSpec, brokers: number): Promise<void> {
  const replicas = topic.replicationFactor ?? Math.min(3, brokers);
  const settings = topicSettings(topic, replicas);
  try {
    await admin.createTopics({
      // kafkajs's own wait gives up where a broker does not know of the topic yet; describeCreated waits properly.
      waitForLeaders: false,
      timeout: creationDeadlineMs,
      topics: [
        {
          topic: topic.name,
          numPartitions: topic.partitions,
          replicationFactor: replicas,
          configEntries: Object.entries(settings).map(([name, value]) => ({ name, value })),
        },
      ],
    });
  } catch (error) {
    const type = kafkaErrorType(error);
    if (type === undefined || !notAllowed.includes(type)) {
      throw new KafkaAwayError(`Topic ${topic.name} can't be created`, { cause: error });
    }
    const config = Object.entries(settings).map(([name, value]) => ` --config ${name}=${value}`);
    const create = `kafka-topics.sh --create --topic ${topic.name} --partitions ${topic.partitions}`;
    const remedy = `This reader may not create it (${type}). Run ${create} --replication-factor ${replicas}${config.join('')}`;
    throw new TopicMissingError(topic.name, remedy, { cause: error });
  }
}

/** A topic's settings at creation, by Kafka's names. */
export function topicSettings(topic: TopicSpec, replicas: number): Record<string, string> {
  const minInsyncReplicas = topic.minInsyncReplicas ?? Math.max(1, replicas - 1);
  const settings: Record<string, string> = {
    'cleanup.policy': topic.cleanupPolicy,
    'min.insync.replicas': String(minInsyncReplicas),
  };
  if (topic.cleanupPolicy === 'delete') return { ...settings, 'retention.ms': String(topic.retentionMs) };
  // Compaction spares the segment being written, 1 GB by default: as much would stay of a checkpoint of 1 kB that is
  // written hundreds of times a second.
  return { ...settings, 'segment.bytes': String(32 * 1024 * 1024), 'min.cleanable.dirty.ratio': '0.2' };
}

async function describeCreated(admin: Admin, topics: readonly TopicSpec[]): Promise<Map<string, TopicDescription>> {
  const giveUpMs = performance.now() + creationDeadlineMs;
  for (;;) {
    const described = await describeTopics(
      admin,
      topics.map(({ name }) => name),
    );
    const missing = [...described.values()].find(({ exists }) => !exists);
    if (missing === undefined) return described;
    if (performance.now() > giveUpMs) throw new KafkaAwayError(`Topic ${missing.name} was created and can't be seen`);
    await delay(50);
  }
}
