// The benchmark's own servers: an orders Postgres, a carts Postgres and one Kafka, durable as in production (fsync on)
// but sized for two shared cores, below a folder that is removed at the end. Commit timestamps are kept by both
// databases, so that latency is measured by the servers themselves. What is measured on them is left to others.

import { createLocalKafka } from '../../dev/servers/local-kafka.ts';
import type { LocalPostgres } from '../../dev/servers/local-postgres.ts';
import { withKafkaAdmin } from '../support/kafka/admin.ts';
import { startService } from '../support/process/service-process.ts';
import { withServer } from '../support/stack/environment.ts';
import { startOwnServers } from '../support/stack/own-servers.ts';
import { offerTls, overTls, startTlsKafka, type TlsServers } from './tls.ts';

export interface BenchStack {
  readonly ordersUrl: string;
  readonly brokers: string;
  readonly orders: LocalPostgres;
  /** Each makes and migrates a database; returns its URL. */
  createOrders(name: string): Promise<string>;
  createCarts(name: string): Promise<string>;
  /** Makes a live topic, of six partitions if no number is given, whose records carry the broker's time. */
  createTopic(topic: string, partitions?: number): Promise<void>;
  /** Starts a service as the benchmark has it: with plain connections, or with TLS and logins. */
  startService: typeof startService;
  close(): Promise<void>;
}

const publicationName = 'tillstream';

const postgresSettings = {
  track_commit_timestamp: 'on',
  shared_buffers: '512MB',
  max_wal_size: '8GB',
  max_connections: '100',
  max_replication_slots: '60', // two a reader that ran
};

const jvmOptions = ['-Xms512m', '-Xmx512m', '-XX:+UseG1GC'];

/** Starts all three and migrates the orders database. */
export async function startStack({ tls: isTls }: { readonly tls: boolean }): Promise<BenchStack> {
  let tls: TlsServers | undefined;
  const onNotice = (message: string) => console.error(message);
  const servers = await startOwnServers({
    settings: postgresSettings,
    publicationName,
    onNotice,
    async startKafka(directory) {
      if (isTls) {
        tls = await startTlsKafka(directory, jvmOptions);
        return { bootstrap: tls.kafka.bootstrap('INTERNAL'), close: () => tls!.kafka.close() };
      }
      const kafka = await createLocalKafka({
        directory,
        jvmOptions,
        onNotice,
      });
      try {
        await kafka.start();
      } catch (error) {
        await kafka.kill();
        throw error;
      }
      return { bootstrap: kafka.bootstrap, close: () => kafka.kill() };
    },
  });
  const { orders, ordersUrl, kafka, createOrders, createCarts, close } = servers;
  if (tls !== undefined) for (const postgres of [orders, servers.carts]) await offerTls(postgres, tls.authority);
  return {
    ordersUrl,
    brokers: kafka.bootstrap,
    orders,
    createOrders,
    createCarts,
    createTopic: (topic, numPartitions = 6) =>
      withKafkaAdmin(kafka.bootstrap, async (admin) => {
        const configEntries = [
          { name: 'message.timestamp.type', value: 'LogAppendTime' },
          { name: 'retention.ms', value: '-1' },
        ];
        await admin.createTopics({ topics: [{ topic, numPartitions, replicationFactor: 1, configEntries }] });
      }),
    startService: (name, env, options) =>
      startService(name, tls === undefined ? { ...env } : overTls({ ...env }, tls), options),
    close,
  };
}

/** The services' environment for run `name` on this stack: topics, slot and group of its own. */
export function runEnvironment(stack: BenchStack, name: string, cartsUrl: string): Record<string, string> {
  return {
    ORDER_DATABASE_URL: stack.ordersUrl,
    CART_DATABASE_URL: cartsUrl,
    KAFKA_BROKERS: stack.brokers,
    ORDERS_TOPIC: `orders.placed.${name}`,
    REPLAY_TOPIC: `orders.placed.replay.${name}`,
    CHECKPOINT_TOPIC: `cdc.checkpoints.${name}`,
    SLOT_NAME: `bench_${name}`,
    PUBLICATION_NAME: publicationName,
    CONSUMER_GROUP: `cart-sink-${name}`,
    LOG_LEVEL: process.env.LOG_LEVEL ?? 'info',
    MIGRATE: 'off',
  };
}

/** Runs one statement on the server and returns its rows. */
export function query<T extends object>(url: string, sql: string, values: readonly unknown[] = []): Promise<T[]> {
  return withServer(url, async (client) => (await client.query<T>(sql, [...values])).rows);
}
