// What `--check-config` tells about Kafka: the login, the brokers and the topics as this client may see them. Reads only.
import type { Check } from '#service/command-line/check-config.ts';
import type { Logger } from '#service/logger.ts';
import { createKafkaClient } from './client.ts';
import type { KafkaServers } from './servers.ts';
import { describeTopics, withAdmin } from './topics.ts';

export function checkKafka(kafka: KafkaServers, topics: readonly string[], logger: Logger): Check {
  return {
    what: 'Kafka',
    find: async () => {
      const client = createKafkaClient({ kafka, clientId: 'tillstream-check-config', logger, retry: { retries: 2 } });
      return withAdmin(client, async (admin) => {
        const { brokers } = await admin.describeCluster();
        const described = await describeTopics(admin, topics);
        return [
          ['brokers', brokers.map(({ host, port }) => `${host}:${port}`).join(', ')],
          ['TLS', kafka.tlsOptions === undefined ? 'none' : 'certificate accepted'],
          ['login', kafka.createSasl === undefined ? 'none' : kafka.createSasl().mechanism],
          ...[...described.values()].map(({ name, exists, partitions, replicationFactor, cleanupPolicy }) => {
            const found = `${partitions} partitions, replication ${replicationFactor}, ${cleanupPolicy}`;
            return [`topic ${name}`, exists ? found : 'missing'] as const;
          }),
        ];
      });
    },
  };
}
