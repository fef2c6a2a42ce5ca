// A look at Kafka from outside, for setting up, cleaning up and checking. Each call has a connection of its own and closes
// it, so that a test can't leave one behind.

import type { Admin } from 'kafkajs';
import { pino } from 'pino';
import { createKafkaClient } from '#kafka/client.ts';
import { plainServers } from '#kafka/servers.ts';
import { waitFor } from '../wait.ts';

export const silentLogger = pino({ level: 'silent' });

/** Runs `use` with an admin client of its own; `brokers` is comma-separated. */
export async function withKafkaAdmin<T>(brokers: string, use: (admin: Admin) => Promise<T>): Promise<T> {
  const kafka = createKafkaClient({
    kafka: plainServers(brokers.split(',')),
    clientId: 'tillstream-test',
    logger: silentLogger,
  });
  const admin = kafka.admin();
  await admin.connect();
  try {
    return await use({ ...admin, createTopics: (options) => createTopics(admin, options) });
  } finally {
    await admin.disconnect();
  }
}

/** kafkajs's own wait for leaders fails at once where the broker that it asks has not heard of the topic yet. */
async function createTopics(admin: Admin, options: Parameters<Admin['createTopics']>[0]): Promise<boolean> {
  const created = await admin.createTopics({ ...options, waitForLeaders: false });
  const topics = options.topics.map(({ topic }) => topic);
  await waitFor(`the leaders of ${topics.join(', ')}`, async () => {
    const metadata = await admin.fetchTopicMetadata({ topics });
    return metadata.topics.every(
      ({ partitions }) => partitions.length > 0 && partitions.every(({ leader }) => leader >= 0),
    );
  });
  return created;
}

/** Topics that are not Kafka's own. */
export async function listTopics(brokers: string): Promise<string[]> {
  const topics = await withKafkaAdmin(brokers, (admin) => admin.listTopics());
  return topics.filter((topic) => !topic.startsWith('__'));
}

/** Deletes every consumer group and topic whose name holds `part`; groups must have no members. */
export async function deleteGroupsAndTopics(brokers: string, part: string): Promise<void> {
  await withKafkaAdmin(brokers, async (admin) => {
    const groups = (await admin.listGroups()).groups.map(({ groupId }) => groupId).filter((id) => id.includes(part));
    if (groups.length > 0) await admin.deleteGroups(groups);
    const topics = (await admin.listTopics()).filter((topic) => topic.includes(part));
    if (topics.length > 0) await admin.deleteTopics({ topics });
  });
}
