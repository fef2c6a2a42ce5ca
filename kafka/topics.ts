// Describes topics, and checks whether they may be used. The check is a pure function: a topic in which old events are
// compacted away, or checkpoints are not, would lose data without an error. Creating topics is left to create-topics.ts.

import kafkajs, { type Admin, type Kafka } from 'kafkajs';
import { KafkaUnavailableError, kafkaErrorType } from './errors.ts';
import { alterTopicCommand } from './topic-commands.ts';

/** A topic in its cluster. If it does not exist, every field but the name is meaningless. */
export interface TopicDescription {
  readonly name: string;
  readonly exists: boolean;
  readonly partitions: number;
  readonly replicationFactor: number;
  /** In Kafka's form: `delete`, `compact` or `compact,delete`. */
  readonly cleanupPolicy: string;
  readonly minInsyncReplicas: number;
  /** Whether a replica that lacks acknowledged records may become the leader. */
  readonly uncleanElections: boolean;
}

/** What is wrong with a topic: problems forbid its use, warnings are logged. */
interface TopicFindings {
  readonly problems: readonly string[];
  readonly warnings: readonly string[];
}

const SETTINGS = ['cleanup.policy', 'min.insync.replicas', 'unclean.leader.election.enable'];

const MISSING = {
  exists: false,
  partitions: 0,
  replicationFactor: 0,
  cleanupPolicy: '',
  minInsyncReplicas: 0,
  uncleanElections: false,
};

/** Runs `work` with an admin client that has connections of its own. */
export async function withAdmin<T>(kafka: Kafka, work: (admin: Admin) => Promise<T>): Promise<T> {
  const admin = kafka.admin();
  try {
    await admin.connect();
    return await work(admin);
  } finally {
    await admin.disconnect();
  }
}

/**
 * Describes the topics `names`, also those that don't exist. Needs DESCRIBE and DESCRIBE_CONFIGS on them. Throws
 * `KafkaUnavailableError`.
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
      resources: [{ type: kafkajs.ConfigResourceTypes.TOPIC, name, configNames: SETTINGS }],
    });
    const value = (setting: string): string => {
      const entry = resources[0]?.configEntries.find(({ configName }) => configName === setting);
      if (entry === undefined) throw new Error(`Kafka returned no ${setting} of topic ${name}.`);
      return entry.configValue;
    };
    return {
      name,
      exists: true,
      partitions: partitions.length,
      replicationFactor: Math.min(...partitions.map(({ replicas }) => replicas.length)),
      cleanupPolicy: value('cleanup.policy'),
      minInsyncReplicas: Number(value('min.insync.replicas')),
      uncleanElections: value('unclean.leader.election.enable') === 'true',
    };
  } catch (error) {
    if (kafkaErrorType(error) !== 'UNKNOWN_TOPIC_OR_PARTITION') {
      throw new KafkaUnavailableError(`Topic ${name} can't be described`, { cause: error });
    }
    return { ...MISSING, name };
  }
}

/**
 * Checks an existing topic. `cleanupPolicy` is the one that it needs: `delete` for a topic of events, where every event
 * stays until its retention ends; `compact` for the checkpoint topic, which has one partition. `brokers` is how many the
 * cluster has.
 */
export function checkTopic(
  topic: TopicDescription,
  { cleanupPolicy, brokers }: { cleanupPolicy: 'delete' | 'compact'; brokers: number },
): TopicFindings {
  const policies = topic.cleanupPolicy.split(',').map((policy) => policy.trim());
  const problems: string[] = [];
  const warnings: string[] = [];
  const setPolicy = (policy: string) => alterTopicCommand(topic.name, 'cleanup.policy', policy);
  if (cleanupPolicy === 'delete' && policies.includes('compact')) {
    problems.push(
      `${topic.name} is compacted (cleanup.policy=${topic.cleanupPolicy}): of each user's orders, only the last would ` +
        `remain. Compaction can't be undone: use a new topic, or, if this one is empty, run ${setPolicy('delete')}`,
    );
  }
  if (cleanupPolicy === 'compact' && topic.cleanupPolicy !== 'compact') {
    problems.push(
      `${topic.name} is not compacted only (cleanup.policy=${topic.cleanupPolicy}): retention would delete the checkpoint ` +
        `of an idle reader. Run ${setPolicy('compact')}`,
    );
  }
  if (cleanupPolicy === 'compact' && topic.partitions !== 1) {
    problems.push(
      `${topic.name} has ${topic.partitions} partitions, but a checkpoint topic must have one. Use another topic`,
    );
  }
  if (topic.replicationFactor === 1 && brokers > 1) {
    warnings.push(
      `${topic.name} has one replica on a cluster of ${brokers} brokers: if that broker is lost, so is the topic`,
    );
  } else if (topic.replicationFactor > 1 && topic.minInsyncReplicas < 2) {
    warnings.push(`${topic.name} accepts records with one replica in sync (min.insync.replicas=1): they can be lost`);
  }
  if (topic.replicationFactor > 1 && topic.uncleanElections) {
    const command = alterTopicCommand(topic.name, 'unclean.leader.election.enable', 'false');
    warnings.push(
      `${topic.name} may get a leader that lacks acknowledged records (unclean.leader.election.enable=true): they would be ` +
        `lost, and the sinks or the reader would halt. Run ${command}`,
    );
  }
  return { problems, warnings };
}
