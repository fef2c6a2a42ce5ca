// ListOffsets and Fetch, straight to the leader of a partition. The one file on kafkajs's internals (Cluster, Broker,
// its requests): its admin tells only the last stable offset, and its consumer can't read without a group, whose join
// costs seconds. One attempt a call: a failure (a leader that moved, a broker that is away) throws what kafkajs throws,
// and trying again with `forgetLeaders` is left to kafka-log.ts. Pinned by test/contract/kafkajs-internals.test.ts.

import { createRequire } from 'node:module';
import type { logCreator } from 'kafkajs';
import {
  createConnections,
  createKafkaLogCreator,
  installKafkajsPatches,
  kafkaLogLevel,
  quickRetry,
} from '#service/kafka-client.ts';
import { KafkaAwayError, OffsetOutOfRangeError } from '#service/kafka-errors.ts';
import { type AbortedTransaction, decodeRecordBatches, type LogRecord } from '#service/kafka-record-batch.ts';
import type { Logger } from '#service/logger.ts';

export type Isolation = 'read_committed' | 'read_uncommitted';
export type OffsetKind = 'earliest' | 'last-stable' | 'high-watermark';

export interface PartitionClient {
  /** The offset of that kind of every partition. */
  listOffsets(topic: string, kind: OffsetKind): Promise<Map<number, bigint>>;
  /**
   * What is there from `fromOffset` on, at most about 4 MB, waiting up to 200 ms for something to be there. Throws
   * `OffsetOutOfRangeError`.
   */
  fetch(at: {
    topic: string;
    partition: number;
    fromOffset: bigint;
    isolation: Isolation;
  }): Promise<{ records: readonly LogRecord[]; nextOffset: bigint }>;
  /** Asks the brokers again who leads `topic`, at the next call. */
  forgetLeaders(topic: string): void;
  /** Cuts the connections; pending calls reject. */
  close(): Promise<void>;
}

interface Broker {
  listOffsets(request: object): Promise<{ responses: { partitions: { partition: number; offset: string }[] }[] }>;
  connectionPool: { send(request: object): Promise<FetchedPartition> };
}
interface Cluster {
  connect(): Promise<void>;
  disconnect(): Promise<void>;
  brokerPool: {
    findBroker(which: { nodeId: number }): Promise<Broker>;
    refreshMetadata(topics: string[]): Promise<void>;
    metadata: { topicMetadata: { topic: string; partitionMetadata: { partitionId: number; leader: number }[] }[] };
  };
}
interface Decoder {
  readInt16(): number;
  readInt32(): number;
  readInt64(): bigint;
  readString(): string | null;
  readBytes(): Buffer | null;
  readArray<T>(read: () => T): T[];
  forward(bytes: number): void;
}
interface FetchedPartition {
  errorCode: number;
  aborted: AbortedTransaction[];
  batches: Buffer;
}

const require = createRequire(import.meta.url);
const ClusterClass = require('kafkajs/src/cluster') as new (options: object) => Cluster;
const DecoderClass = require('kafkajs/src/protocol/decoder') as new (bytes: Buffer) => Decoder;
const { createLogger } = require('kafkajs/src/loggers') as {
  createLogger(options: { level: number; logCreator: logCreator }): object;
};
const { createErrorFromCode } = require('kafkajs/src/protocol/error') as { createErrorFromCode(code: number): Error };
const fetchRequest = require('kafkajs/src/protocol/requests/fetch/v11/request') as (request: object) => object;

const isolationLevels = { read_uncommitted: 0, read_committed: 1 };
const offsetQueries = {
  earliest: { timestamp: '-2', isolationLevel: isolationLevels.read_uncommitted },
  'last-stable': { timestamp: '-1', isolationLevel: isolationLevels.read_committed },
  'high-watermark': { timestamp: '-1', isolationLevel: isolationLevels.read_uncommitted },
};
const offsetOutOfRange = 1;
const fetchWaitMs = 200;
const fetchBytes = 4 * 1024 * 1024;

/** Creates a {@link PartitionClient}; throws `KafkaAwayError` when no broker can be reached. */
export async function createPartitionClient(options: {
  brokers: readonly string[];
  clientId: string;
  logger: Logger;
  requestTimeoutMs: number;
}): Promise<PartitionClient> {
  installKafkajsPatches();
  const { requestTimeoutMs } = options;
  const connections = createConnections(options.brokers);
  const cluster = new ClusterClass({
    brokers: connections.brokers,
    socketFactory: connections.socketFactory,
    clientId: options.clientId,
    connectionTimeout: 3_000,
    requestTimeout: requestTimeoutMs,
    allowAutoTopicCreation: false,
    retry: { ...quickRetry, retries: 2 },
    logger: createLogger({ level: kafkaLogLevel(options.logger), logCreator: createKafkaLogCreator(options.logger) }),
  });
  const close = async (): Promise<void> => {
    connections.close();
    await cluster.disconnect();
  };
  try {
    await cluster.connect();
  } catch (error) {
    await close();
    throw new KafkaAwayError('No broker can be reached', { cause: error });
  }

  const leadersByTopic = new Map<string, Promise<Map<number, number>>>();
  let lastRefresh: Promise<unknown> = Promise.resolve();
  const findLeaders = (topic: string): Promise<Map<number, number>> => {
    const known = leadersByTopic.get(topic);
    if (known !== undefined) return known;
    // One after another: kafkajs keeps only the metadata of the last topics asked for.
    const found = lastRefresh.then(async () => {
      await cluster.brokerPool.refreshMetadata([topic]);
      const metadata = cluster.brokerPool.metadata.topicMetadata.find((entry) => entry.topic === topic);
      return new Map((metadata?.partitionMetadata ?? []).map(({ partitionId, leader }) => [partitionId, leader]));
    });
    leadersByTopic.set(topic, found);
    lastRefresh = found.catch(() => leadersByTopic.delete(topic));
    return found;
  };

  const listOffsets: PartitionClient['listOffsets'] = async (topic, kind) => {
    const { timestamp, isolationLevel } = offsetQueries[kind];
    const leaders = await findLeaders(topic);
    const offsets = new Map<number, bigint>();
    for (const nodeId of new Set(leaders.values())) {
      const partitions = [...leaders]
        .filter(([, leader]) => leader === nodeId)
        .map(([partition]) => ({ partition, timestamp }));
      const broker = await cluster.brokerPool.findBroker({ nodeId });
      const { responses } = await broker.listOffsets({ isolationLevel, topics: [{ topic, partitions }] });
      for (const { partition, offset } of responses[0]!.partitions) offsets.set(partition, BigInt(offset));
    }
    return offsets;
  };

  return {
    close,
    listOffsets,
    forgetLeaders: (topic) => leadersByTopic.delete(topic),
    async fetch({ topic, partition, fromOffset, isolation }) {
      const nodeId = (await findLeaders(topic)).get(partition);
      if (nodeId === undefined) throw new RangeError(`Topic ${topic} has no partition ${partition}.`);
      const broker = await cluster.brokerPool.findBroker({ nodeId });
      const request = fetchRequest({
        replicaId: -1,
        isolationLevel: isolationLevels[isolation],
        maxWaitTime: fetchWaitMs,
        minBytes: 1,
        maxBytes: fetchBytes,
        topics: [{ topic, partitions: [{ partition, fetchOffset: fromOffset.toString(), maxBytes: fetchBytes }] }],
      });
      const response = {
        decode: async (bytes: Buffer) => decodeFetchAnswer(bytes),
        parse: async (data: unknown) => data,
      };
      const { errorCode, aborted, batches } = await broker.connectionPool.send({ request, response });
      if (errorCode === offsetOutOfRange) {
        const [earliest, latest] = [await listOffsets(topic, 'earliest'), await listOffsets(topic, 'high-watermark')];
        const held = { earliest: earliest.get(partition)!, latest: latest.get(partition)! };
        throw new OffsetOutOfRangeError({ topic, partition, requested: fromOffset, ...held });
      }
      if (errorCode !== 0) throw createErrorFromCode(errorCode);
      return decodeRecordBatches(batches, {
        fromOffset,
        aborted: isolation === 'read_committed' ? aborted : undefined,
      });
    },
  };
}

/** Decodes a Fetch answer (version 11) to one partition: its error, its aborted transactions and its raw batches. */
function decodeFetchAnswer(bytes: Buffer): FetchedPartition & { clientSideThrottleTime: number } {
  const answer = new DecoderClass(bytes);
  const clientSideThrottleTime = answer.readInt32();
  const fetchErrorCode = answer.readInt16();
  answer.readInt32(); // session
  if (answer.readInt32() === 0) {
    return { clientSideThrottleTime, errorCode: fetchErrorCode, aborted: [], batches: Buffer.alloc(0) };
  }
  answer.readString(); // topic
  answer.readInt32(); // number of partitions: one
  answer.readInt32(); // partition
  const errorCode = answer.readInt16() || fetchErrorCode;
  answer.forward(8 + 8 + 8); // high watermark, last stable offset, log start

  const aborted = answer.readArray(() => ({ producerId: answer.readInt64(), firstOffset: answer.readInt64() }));
  answer.readInt32(); // preferred read replica
  return { clientSideThrottleTime, errorCode, aborted, batches: answer.readBytes() ?? Buffer.alloc(0) };
}
