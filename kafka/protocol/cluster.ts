// Brokers, leaders and coordinators, over kafkajs's internals. kafkajs's own producer loses and duplicates records when a
// leader moves, its consumer can't read without a group, and both fetch the metadata of every topic of the cluster
// (contract tests); its connections and requests are sound. This is the one file that knows those parts; all of them are
// pinned by test/contract/kafkajs-internals.test.ts. Requests and retries are left to whoever uses it.

import { createRequire } from 'node:module';
import type { logCreator } from 'kafkajs';
import { CONNECT_TIMEOUT_MS, createKafkaLogCreator, kafkaLogLevel, QUICK_RETRY } from '#kafka/client.ts';
import { createConnections } from '#kafka/connections.ts';
import { KafkaUnavailableError } from '#kafka/errors.ts';
import type { KafkaServers } from '#kafka/servers.ts';
import { withDeadline } from '#service/deadline.ts';
import type { Logger } from '#service/logger.ts';
import { installKafkajsPatches } from './patches.ts';

/** A connected broker. Each method is one request, and throws the error that Kafka responds with. */
export interface KafkaBroker {
  connect(): Promise<void>;
  findGroupCoordinator(request: { groupId: string; coordinatorType: number }): Promise<{ coordinator: BrokerAddress }>;
  listOffsets(request: object): Promise<{ responses: { partitions: { partition: number; offset: string }[] }[] }>;
  initProducerId(request: object): Promise<{ producerId: string; producerEpoch: number }>;
  addPartitionsToTxn(request: object): Promise<unknown>;
  endTxn(request: object): Promise<unknown>;
  /** What the broker speaks, by API key; known once it is connected. */
  readonly versions: Readonly<Record<number, { minVersion: number; maxVersion: number } | undefined>> | null;
  /** Sends any request; resolves to what `response` makes of the response. */
  readonly connectionPool: { send<T>(exchange: KafkaExchange<T>): Promise<T> };
}

/** A request with its own encoding, and the decoding of its response. */
export interface KafkaExchange<T> {
  readonly request: object;
  readonly response: { decode(bytes: Buffer): Promise<object>; parse(decoded: object): Promise<T> };
}

export interface KafkaCluster {
  /** The node id of the leader of every partition of `topic`, as last known. */
  findLeaders(topic: string): Promise<ReadonlyMap<number, number>>;
  /** Makes the next `findLeaders` of `topic` ask the brokers again. */
  forgetLeaders(topic: string): void;
  findBroker(nodeId: number): Promise<KafkaBroker>;
  /** Asks for the transaction coordinator of this id; costs a round trip. */
  findTransactionCoordinator(transactionalId: string): Promise<KafkaBroker>;
  /** Cuts every connection, to reconnect: kafkajs never gives up one that has stopped responding. */
  reconnect(): void;
  /** Cuts every connection for good; pending requests reject. */
  close(): Promise<void>;
}

interface BrokerAddress {
  readonly nodeId: number;
  readonly host: string;
  readonly port: number;
}
interface BrokerPool {
  findBroker(which: { nodeId: number }): Promise<KafkaBroker>;
  findConnectedBroker(): Promise<KafkaBroker>;
  createBroker(options: object): KafkaBroker;
  readonly connectionPoolBuilder: { build(address: BrokerAddress): Promise<object> };
  refreshMetadata(topics: string[]): Promise<void>;
  readonly metadata: {
    topicMetadata: { topic: string; partitionMetadata: { partitionId: number; leader: number }[] }[];
  };
}
interface Cluster {
  connect(): Promise<void>;
  disconnect(): Promise<void>;
  readonly brokerPool: BrokerPool;
}

const require = createRequire(import.meta.url);
const ClusterClass = require('kafkajs/src/cluster') as new (options: object) => Cluster;
const { createLogger } = require('kafkajs/src/loggers') as {
  createLogger(options: { level: number; logCreator: logCreator }): object;
};
const TRANSACTION_COORDINATOR = 1;

/** Connects to the cluster; throws `KafkaUnavailableError` when no broker can be reached. */
export async function createKafkaCluster(options: {
  kafka: KafkaServers;
  clientId: string;
  logger: Logger;
  /** Bound of one request; a later response is ignored. */
  requestTimeoutMs: number;
}): Promise<KafkaCluster> {
  installKafkajsPatches();
  const connections = createConnections(options.kafka);
  const logger = createLogger({
    level: kafkaLogLevel(options.logger),
    logCreator: createKafkaLogCreator(options.logger),
  });
  const cluster = new ClusterClass({
    logger,
    brokers: connections.brokers,
    socketFactory: connections.socketFactory,
    ...connections.login,
    clientId: options.clientId,
    connectionTimeout: CONNECT_TIMEOUT_MS,
    requestTimeout: options.requestTimeoutMs,
    allowAutoTopicCreation: false,
    retry: { ...QUICK_RETRY, retries: 2 },
  });
  const { brokerPool } = cluster;
  const leadersByTopic = new Map<string, Promise<ReadonlyMap<number, number>>>();
  const coordinators = new Map<string, KafkaBroker>();
  let lastRefresh: Promise<unknown> = Promise.resolve();

  const readLeaders = async (topic: string): Promise<ReadonlyMap<number, number>> => {
    await brokerPool.refreshMetadata([topic]);
    const metadata = brokerPool.metadata.topicMetadata.find((entry) => entry.topic === topic);
    return new Map((metadata?.partitionMetadata ?? []).map(({ partitionId, leader }) => [partitionId, leader]));
  };
  const close = async (): Promise<void> => {
    connections.close();
    await cluster.disconnect();
  };
  try {
    const late = () => new KafkaUnavailableError(`No broker responded within ${options.requestTimeoutMs} ms`);
    await withDeadline(cluster.connect(), options.requestTimeoutMs, late);
  } catch (error) {
    await close();
    throw error instanceof KafkaUnavailableError
      ? error
      : new KafkaUnavailableError('No broker is reachable', { cause: error });
  }
  return {
    close,
    reconnect: connections.cut,
    forgetLeaders: (topic) => leadersByTopic.delete(topic),
    findBroker: (nodeId) => brokerPool.findBroker({ nodeId }),
    findLeaders(topic) {
      const known = leadersByTopic.get(topic);
      if (known !== undefined) return known;
      // One at a time: kafkajs keeps only the metadata of the topics last asked for.
      const found = lastRefresh.then(() => readLeaders(topic));
      leadersByTopic.set(topic, found);
      lastRefresh = found.catch(() => leadersByTopic.delete(topic));
      return found;
    },
    async findTransactionCoordinator(transactionalId) {
      const anyBroker = await brokerPool.findConnectedBroker();
      const request = { groupId: transactionalId, coordinatorType: TRANSACTION_COORDINATOR };
      const { coordinator } = await anyBroker.findGroupCoordinator(request);
      const address = `${coordinator.nodeId}@${coordinator.host}:${coordinator.port}`;
      let broker = coordinators.get(address);
      if (broker === undefined) {
        // A connection of its own, since kafkajs knows brokers only from the metadata of topics.
        const connectionPool = await brokerPool.connectionPoolBuilder.build(coordinator);
        broker = brokerPool.createBroker({ logger, connectionPool, nodeId: coordinator.nodeId });
        coordinators.set(address, broker);
      }
      await broker.connect();
      return broker;
    },
  };
}
