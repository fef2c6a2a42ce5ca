// Creates the topics that a writer needs, and checks them. Guarantees: when this resolves, every topic exists, and none
// would lose events or checkpoints by its settings; existing topics are never altered. Which settings are refused is
// decided in topics.ts. Only the reader creates topics.

import { setTimeout as delay } from 'node:timers/promises';
import type { Admin, Kafka } from 'kafkajs';
import { HaltError } from '#service/halt.ts';
import type { Logger } from '#service/logger.ts';
import { isKafkajsError, KafkaUnavailableError, kafkaErrorType, TopicMissingError } from './errors.ts';
import { checkTopic, describeTopics, type TopicDescription, withAdmin } from './topics.ts';

export interface TopicSpec {
  readonly name: string;
  readonly partitions: number;
  /** By default three, or as many as there are brokers. */
  readonly replicationFactor?: number | undefined;
  /** By default one less than the replication factor, at least 1. */
  readonly minInsyncReplicas?: number | undefined;
  /** −1: unlimited. Has no effect on a compacted topic. */
  readonly retentionMs: number;
  /** `compact` is for the checkpoint topic alone. */
  readonly cleanupPolicy: 'delete' | 'compact';
}

/** The settings of an existing topic would lose data. */
class TopicMisconfiguredError extends HaltError {
  override readonly code = 'TOPIC_MISCONFIGURED';

  constructor(topic: string, problems: readonly string[]) {
    super(`${problems.join('; ')}.`, { topic });
  }
}

const REFUSALS = ['TOPIC_AUTHORIZATION_FAILED', 'CLUSTER_AUTHORIZATION_FAILED', 'POLICY_VIOLATION'];
/** Until every broker knows of a new topic. */
const CREATION_DEADLINE_MS = 15_000;
const POLL_MS = 50;

interface TopicsToEnsure {
  readonly kafka: Kafka;
  readonly topics: readonly TopicSpec[];
  readonly logger: Logger;
}

/**
 * Creates those of `topics` that are missing, checks all of them and returns their descriptions. Throws
 * `TopicMissingError` with the command to run if it may not create one, {@link TopicMisconfiguredError} if one must not be
 * used, and `KafkaUnavailableError`.
 */
export async function ensureTopics(options: TopicsToEnsure): Promise<Map<string, TopicDescription>> {
  try {
    return await withAdmin(options.kafka, (admin) => createAndCheck(admin, options));
  } catch (error) {
    if (isKafkajsError(error)) throw new KafkaUnavailableError("The topics can't be described", { cause: error });
    throw error;
  }
}

async function createAndCheck(
  admin: Admin,
  { topics, logger }: TopicsToEnsure,
): Promise<Map<string, TopicDescription>> {
  const names = topics.map(({ name }) => name);
  const brokers = (await admin.describeCluster()).brokers.length;
  let described = await describeTopics(admin, names);
  const missing = topics.filter(({ name }) => !described.get(name)!.exists);
  for (const topic of missing) {
    await createTopic(admin, topic, brokers);
    logger.info({ event: 'kafka.topic-created', topic: topic.name }, 'Topic created');
  }
  if (missing.length > 0) described = await describeCreated(admin, names);
  for (const { name, cleanupPolicy } of topics) {
    const { problems, warnings } = checkTopic(described.get(name)!, { cleanupPolicy, brokers });
    if (problems.length > 0) throw new TopicMisconfiguredError(name, problems);
    for (const warning of warnings) logger.warn({ event: 'kafka.topic-warning', topic: name }, warning);
  }
  return described;
}

async function createTopic(admin: Admin, topic: TopicSpec, brokers: number): Promise<void> {
  const replicas = topic.replicationFactor ?? Math.min(3, brokers);
  const settings = topicSettings(topic, replicas);
  try {
    await admin.createTopics({
      // kafkajs's own wait fails where a broker does not know of the topic yet; describeCreated waits instead.
      waitForLeaders: false,
      timeout: CREATION_DEADLINE_MS,
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
    if (type === undefined || !REFUSALS.includes(type)) {
      throw new KafkaUnavailableError(`Topic ${topic.name} can't be created`, { cause: error });
    }
    const config = Object.entries(settings).map(([name, value]) => ` --config ${name}=${value}`);
    const create = `kafka-topics.sh --create --topic ${topic.name} --partitions ${topic.partitions}`;
    const remedy = `Creating it was refused (${type}). Run ${create} --replication-factor ${replicas}${config.join('')}`;
    throw new TopicMissingError(topic.name, remedy, { cause: error });
  }
}

/** The settings of a new topic, by Kafka's names. */
export function topicSettings(topic: TopicSpec, replicas: number): Record<string, string> {
  const minInsyncReplicas = topic.minInsyncReplicas ?? Math.max(1, replicas - 1);
  const settings: Record<string, string> = {
    'cleanup.policy': topic.cleanupPolicy,
    'min.insync.replicas': String(minInsyncReplicas),
  };
  if (topic.cleanupPolicy === 'delete') return { ...settings, 'retention.ms': String(topic.retentionMs) };
  // Compaction skips the active segment, 1 GB by default: that much would remain of a checkpoint of 1 kB which is written
  // hundreds of times a second.
  return { ...settings, 'segment.bytes': String(32 * 1024 * 1024), 'min.cleanable.dirty.ratio': '0.2' };
}

async function describeCreated(admin: Admin, names: readonly string[]): Promise<Map<string, TopicDescription>> {
  const giveUpMs = performance.now() + CREATION_DEADLINE_MS;
  for (;;) {
    const described = await describeTopics(admin, names);
    const missing = [...described.values()].find(({ exists }) => !exists);
    if (missing === undefined) return described;
    if (performance.now() > giveUpMs) {
      throw new KafkaUnavailableError(`Topic ${missing.name} was created, but brokers still report it as missing`);
    }
    await delay(POLL_MS);
  }
}
