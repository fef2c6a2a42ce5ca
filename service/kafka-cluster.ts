// Brokers, leaders and coordinators, from kafkajs's internals. kafkajs's own producer loses and duplicates records when
// a leader moves, its consumer can't read without a group, and both ask for the metadata of every topic of the cluster
// (contract tests); its connections and requests are sound. This is the one file that knows those parts, all of
// them pinned by test/contract/kafkajs-internals.test.ts. Requests, and trying again, are left to who uses it.

import { createRequire } from 'node:module';
import type { logCreator } from 'kafkajs';
import { createConnections, createKafkaLogCreator, kafkaLogLevel, quickRetry } from '#service/kafka-client.ts';
import { withDeadline } from '#service/kafka-deadline.ts';
import { KafkaAwayError } from '#service/kafka-errors.ts';
import { installKafkajsPatches } from '#service/kafka-patches.ts';
import type { Logger } from '#service/logger.ts';

/** A broker, connected; its methods are one request each, and throw what Kafka answers. */
export interface KafkaBroker {
  connect(): Promise<void>;
  findGroupCoordinator(request: { groupId: string; coordinatorType: number }): Promise<{ coordinator: BrokerAddress }>;
  listOffsets(request: object): Promise<{ responses: { partitions: { partition: number; offset: string }[] }[] }>;
  initProducerId(request: object): Promise<{ producerId: string; producerEpoch: number }>;
  addPartitionsToTxn(request: object): Promise<unknown>;
  endTxn(request: object): Promise<unknown>;
  /** Sends any request; resolves to what `response` makes of the answer. */
  readonly connectionPool: { send<T>(exchange: KafkaExchange<T>): Promise<T> };
}

/** A request with its own encoding, and what decodes the answer. */
export interface KafkaExchange<T> {
  readonly request: object;
  readonly response: { decode(answer: Buffer): Promise<object>; parse(decoded: object): Promise<T> };
}

export interface KafkaCluster {
  /** The leader's node id of every partition of `topic`, as last known. */
  findLeaders(topic: string): Promise<ReadonlyMap<number, number>>;
  /** Asks the brokers again who leads `topic`, at the next call. */
  forgetLeaders(topic: string): void;
  findBroker(nodeId: number): Promise<KafkaBroker>;
  /** Asks who coordinates the transactions of this id; costs a round trip. */
  findTransactionCoordinator(transactionalId: string): Promise<KafkaBroker>;
  /** Cuts every connection, to start anew: one whose answers stay away is never given up by kafkajs. */
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
const transactionCoordinator = 1;

/** Connects to the cluster; throws `KafkaAwayError` when no broker can be reached. */
export async function createKafkaCluster(options: {
  brokers: readonly string[];
  clientId: string;
  logger: Logger;
  /** Bound of one request; the answer may still come, and is ignored. */
  requestTimeoutMs: number;
}): Promise<KafkaCluster> {
  installKafkajsPatches();
  const connections = createConnections(options.brokers);
  const logger = createLogger({
    level: kafkaLogLevel(options.logger),
    logCreator: createKafkaLogCreator(options.logger),
  });
  const cluster = new ClusterClass({
    logger,
    brokers: connections.brokers,
    socketFactory: connections.socketFactory,
    clientId: options.clientId,
    connectionTimeout: 3_000,
    requestTimeout: options.requestTimeoutMs,
    allowAutoTopicCreation: false,
    retry: { ...quickRetry, retries: 2 },
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
    const late = () => new KafkaAwayError(`No broker answered within ${options.requestTimeoutMs} ms`);
    await withDeadline(cluster.connect(), options.requestTimeoutMs, late);
  } catch (error) {
    await close();
    throw error instanceof KafkaAwayError ? error : new KafkaAwayError('No broker can be reached', { cause: error });
  }
  return {
    close,
    reconnect: connections.cut,
    forgetLeaders: (topic) => leadersByTopic.delete(topic),
    findBroker: (nodeId) => brokerPool.findBroker({ nodeId }),
    findLeaders(topic) {
      const known = leadersByTopic.get(topic);
      if (known !== undefined) return known;
      // One after another: kafkajs keeps only the metadata of the topics last asked for.
      const found = lastRefresh.then(() => readLeaders(topic));
      leadersByTopic.set(topic, found);
      lastRefresh = found.catch(() => leadersByTopic.delete(topic));
      return found;
    },
    async findTransactionCoordinator(transactionalId) {
      const anyBroker = await brokerPool.findConnectedBroker();
      const request = { groupId: transactionalId, coordinatorType: transactionCoordinator };
      const { coordinator } = await anyBroker.findGroupCoordinator(request);
      const address = `${coordinator.nodeId}@${coordinator.host}:${coordinator.port}`;
      let broker = coordinators.get(address);
      if (broker === undefined) {
        // Of its own, since kafkajs knows brokers only from the metadata of topics.
        const connectionPool = await brokerPool.connectionPoolBuilder.build(coordinator);
        broker = brokerPool.createBroker({ logger, connectionPool, nodeId: coordinator.nodeId });
        coordinators.set(address, broker);
      }
      await broker.connect();
      return broker;
    },
  };
}
