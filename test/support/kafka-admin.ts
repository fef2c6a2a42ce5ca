// A look at Kafka from outside, for setting up, cleaning up and checking. Each call has a connection of its own and closes
// it, so that a test can't leave one behind.

import { type Admin, Kafka, logLevel } from 'kafkajs';

/** Runs `use` with an admin client of its own; `brokers` is comma-separated. */
export async function withKafkaAdmin<T>(brokers: string, use: (admin: Admin) => Promise<T>): Promise<T> {
  const kafka = new Kafka({
    clientId: 'tillstream-test',
    brokers: brokers.split(','),
    logLevel: logLevel.NOTHING,
    retry: { initialRetryTime: 50, retries: 8 },
  });
  const admin = kafka.admin();
  await admin.connect();
  try {
    return await use(admin);
  } finally {
    await admin.disconnect();
  }
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
