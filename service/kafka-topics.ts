// What a topic is, and whether it may be used. Reading is here for everyone; creating is the reader's alone
// (cdc-reader/kafka/topics.ts). The rules are a pure function: a topic in which old events are compacted away, or
// checkpoints are not, would lose data without an error.

import kafkajs, { type Admin } from 'kafkajs';
import { KafkaAwayError, kafkaErrorType } from '#service/kafka-errors.ts';

/** A topic as its cluster has it; everything but the name is meaningless when it does not exist. */
export interface TopicDescription {
  readonly name: string;
  readonly exists: boolean;
  readonly partitions: number;
  readonly replicationFactor: number;
  /** As Kafka has it: `delete`, `compact` or `compact,delete`. */
  readonly cleanupPolicy: string;
  readonly minInsyncReplicas: number;
  /** −1: for ever. */
  readonly retentionMs: number;
  /** Largest record batch that it takes, in bytes. */
  readonly maxMessageBytes: number;
}

/** What is wrong with a topic: problems forbid its use, warnings are for the log. */
export interface TopicVerdict {
  readonly problems: readonly string[];
  readonly warnings: readonly string[];
}

const settings = ['cleanup.policy', 'min.insync.replicas', 'retention.ms', 'max.message.bytes'];

/**
 * Describes the topics `names`, also those that don't exist. Needs DESCRIBE and DESCRIBE_CONFIGS on them. Throws
 * `KafkaAwayError` when the brokers can't be asked.
 */
export async function describeTopics(admin: Admin, names: readonly string[]): Promise<Map<string, TopicDescription>> {
  const described = new Map<string, TopicDescription>();
  for (const name of names) described.set(name, await describeTopic(admin, name));
  return described;
}

async function describeTopic(admin: Admin, name: string): Promise<TopicDescription> {
  try {
    const { topics } = await admin.fetchTopicMetadata({ topics: [name] });
    const partitions = topics.find((topic) => topic.name === name)?.partitions ?? [];
    const { resources } = await admin.describeConfigs({
      includeSynonyms: false,
      resources: [{ type: kafkajs.ConfigResourceTypes.TOPIC, name, configNames: settings }],
    });
    const value = (setting: string): string => {
      const entry = resources[0]?.configEntries.find(({ configName }) => configName === setting);
      if (entry === undefined) throw new Error(`Kafka did not tell ${setting} of topic ${name}.`);
      return entry.configValue;
    };
    return {
      name,
      exists: true,
      partitions: partitions.length,
      replicationFactor: Math.min(...partitions.map(({ replicas }) => replicas.length)),
      cleanupPolicy: value('cleanup.policy'),
      minInsyncReplicas: Number(value('min.insync.replicas')),
      retentionMs: Number(value('retention.ms')),
      maxMessageBytes: Number(value('max.message.bytes')),
    };
  } catch (error) {
    if (kafkaErrorType(error) !== 'UNKNOWN_TOPIC_OR_PARTITION') {
      throw new KafkaAwayError(`Topic ${name} can't be looked at`, { cause: error });
    }
    const nothing = { partitions: 0, replicationFactor: 0, minInsyncReplicas: 0, retentionMs: 0, maxMessageBytes: 0 };
    return { name, exists: false, cleanupPolicy: '', ...nothing };
  }
}

/**
 * Judges an existing topic. `cleanupPolicy` is what it is for: `delete` for a topic of events, where every event stays
 * until retention takes it; `compact` for the checkpoint topic, which has one partition. `brokers` is how many the
 * cluster has.
 */
export function judgeTopic(
  topic: TopicDescription,
  { cleanupPolicy, brokers }: { cleanupPolicy: 'delete' | 'compact'; brokers: number },
): TopicVerdict {
  const policies = topic.cleanupPolicy.split(',').map((policy) => policy.trim());
  const problems: string[] = [];
  const warnings: string[] = [];
  const setPolicy = (policy: string) =>
    `kafka-configs.sh --alter --topic ${topic.name} --add-config cleanup.policy=${policy}`;
  if (cleanupPolicy === 'delete' && policies.includes('compact')) {
    problems.push(
      `${topic.name} is compacted (cleanup.policy=${topic.cleanupPolicy}), so that of a user's orders only the last ` +
        `would stay. Events lost already can't be had back from it: use a new topic, or, if it is empty, ${setPolicy('delete')}`,
    );
  }
  if (cleanupPolicy === 'compact' && topic.cleanupPolicy !== 'compact') {
    problems.push(
      `${topic.name} is not purely compacted (cleanup.policy=${topic.cleanupPolicy}), so that the checkpoint of an idle ` +
        `reader would be deleted. Run ${setPolicy('compact')}`,
    );
  }
  if (cleanupPolicy === 'compact' && topic.partitions !== 1) {
    problems.push(`${topic.name} has ${topic.partitions} partitions; a checkpoint topic has one. Use another topic`);
  }
  if (topic.replicationFactor === 1 && brokers > 1) {
    warnings.push(`${topic.name} has one replica on a cluster of ${brokers} brokers: losing that broker loses it`);
  } else if (topic.replicationFactor > 1 && topic.minInsyncReplicas < 2) {
    warnings.push(
      `${topic.name} takes records with a single replica in sync (min.insync.replicas=1): they can be lost`,
    );
  }
  return { problems, warnings };
}
