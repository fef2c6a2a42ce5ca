// A real Kafka cluster of one or three nodes as child processes, KRaft only. Guarantees: its data in the given folder
// outlives stop, kill -9 and our own death, so that the next start continues; topics are never created by themselves;
// ports are chosen before the first start and stay the same for the life of the object. Java and the jars come from
// fetch-kafka.ts, a node's life from kafka-broker.ts.

import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { freePort } from '../process/ports.ts';
import { fetchKafka, requireJava } from './fetch-kafka.ts';
import { createKafkaBroker, type KafkaBroker } from './kafka-broker.ts';

export type LocalKafka = {
  /** What clients connect to, comma-separated; the advertised ports, so proxies where there are some. */
  readonly bootstrap: string;
  /** The same brokers past any proxy, for a test's own look. */
  readonly directBootstrap: string;
  readonly brokers: readonly KafkaBroker[];
  /** Starts every node that does not run and waits until all serve. */
  start(options?: { deadlineMs?: number }): Promise<void>;
  /** Stops every node, by force after `deadlineMs` (10,000). The data stays. */
  close(options?: { deadlineMs?: number }): Promise<void>;
  /** kill -9 of every node that runs: the quick end for a cluster whose data is thrown away. */
  kill(): Promise<void>;
};

type Cluster = { clusterId: string; nodes: number };

/** Fast to start and light on two shared cores; a benchmark passes options of its own. */
const quickStart = ['-Xmx512m', '-Xshare:auto', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1'];

/**
 * Prepares a cluster in `directory` and fetches Kafka unless it is cached. `ports` are the client ports, one a node;
 * `advertisedPorts` are where clients are sent instead (proxies). Throws `KafkaPrerequisiteError` without Java or Maven,
 * and when the folder holds a cluster of another size.
 */
export async function createLocalKafka(options: {
  directory: string;
  nodes?: 1 | 3;
  ports?: readonly number[];
  advertisedPorts?: readonly number[];
  settings?: Record<string, string>;
  formatArguments?: readonly string[];
  jvmOptions?: readonly string[];
  java?: string;
  onNotice?: (message: string) => void;
}): Promise<LocalKafka> {
  const { nodes = 1, onNotice: notice = () => undefined } = options;
  const directory = resolve(options.directory);
  const java = await requireJava(options.java);
  const jars = await fetchKafka({ onNotice: notice });
  const { clusterId } = openCluster(directory, nodes);
  const ports = await Promise.all(
    Array.from({ length: nodes }, async (_, index) => {
      const client = options.ports?.[index] ?? (await freePort());
      const advertised = options.advertisedPorts?.[index] ?? client;
      return { client, advertised, internal: await freePort(), controller: await freePort() };
    }),
  );
  const clusterSettings = {
    ...settingsFor(nodes),
    'controller.quorum.voters': ports.map(({ controller }, index) => `${index + 1}@127.0.0.1:${controller}`).join(','),
    ...options.settings,
  };
  const brokers = ports.map((brokerPorts, index) =>
    createKafkaBroker({
      id: index + 1,
      directory: join(directory, `broker-${index + 1}`),
      clusterId,
      ports: brokerPorts,
      clusterSettings,
      formatArguments: options.formatArguments ?? [],
      java,
      jars,
      jvmOptions: options.jvmOptions ?? quickStart,
      notice,
    }),
  );
  const isRunning = (broker: KafkaBroker): boolean => {
    try {
      return broker.pid() > 0;
    } catch {
      return false;
    }
  };
  return {
    bootstrap: brokers.map(({ advertisedPort }) => `127.0.0.1:${advertisedPort}`).join(','),
    directBootstrap: brokers.map(({ directPort }) => `127.0.0.1:${directPort}`).join(','),
    brokers,
    async start(startOptions) {
      const starts = brokers.filter((broker) => !isRunning(broker)).map((broker) => broker.start(startOptions));
      const failed = (await Promise.allSettled(starts)).find((result) => result.status === 'rejected');
      if (failed !== undefined) throw failed.reason;
    },
    async close(closeOptions) {
      await Promise.all(brokers.map((broker) => broker.close(closeOptions)));
    },
    async kill() {
      await Promise.all(brokers.filter(isRunning).map((broker) => broker.kill()));
    },
  };
}

function settingsFor(nodes: number): Record<string, string> {
  const copies = String(nodes);
  const copiesInSync = nodes === 1 ? '1' : '2';
  return {
    'auto.create.topics.enable': 'false',
    'offsets.topic.replication.factor': copies,
    'transaction.state.log.replication.factor': copies,
    'transaction.state.log.min.isr': copiesInSync,
    'share.coordinator.state.topic.replication.factor': copies,
    'share.coordinator.state.topic.min.isr': copiesInSync,
    // Fifty each by default: seconds of start-up and of recovery after kill -9, for a handful of groups.
    'offsets.topic.num.partitions': '10',
    'transaction.state.log.num.partitions': '10',
    // After kill -9, a node may come back only when its old session has ended (9 s by default).
    'broker.session.timeout.ms': '4000',
    'broker.heartbeat.interval.ms': '1000',
    'group.initial.rebalance.delay.ms': '0',
    'log.cleaner.dedupe.buffer.size': '16777216',
  };
}

function openCluster(directory: string, nodes: number): Cluster {
  const file = join(directory, 'cluster.json');
  if (existsSync(file)) {
    const cluster = JSON.parse(readFileSync(file, 'utf8')) as Cluster;
    if (cluster.nodes === nodes) return cluster;
    throw new Error(
      `${directory} holds a Kafka of ${cluster.nodes} node(s), and ${nodes} are wanted. Ask for ${cluster.nodes}, or ` +
        `remove the folder to start from empty, without its topics.`,
    );
  }
  mkdirSync(directory, { recursive: true });
  const cluster = { clusterId: randomBytes(16).toString('base64url'), nodes };
  writeFileSync(file, `${JSON.stringify(cluster)}\n`);
  return cluster;
}
