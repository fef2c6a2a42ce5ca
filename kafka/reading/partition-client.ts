// ListOffsets, Fetch, the id of a topic and its producers, sent straight to the leader of a partition: kafkajs's admin client returns only the last stable
// offset, and its consumer can't read without a group. One attempt per call: a failure (a leader that moved, a broker that
// is down) throws what kafkajs throws; retries are left to log.ts, decoding record batches to protocol/record-batch.ts.

import { createKafkaError, OffsetOutOfRangeError } from '#kafka/errors.ts';
import { createKafkaCluster, type KafkaCluster } from '#kafka/protocol/cluster.ts';
import {
  type ActiveProducer,
  createDescribeProducersExchange,
  DESCRIBE_PRODUCERS_API_KEY,
} from '#kafka/protocol/describe-producers-request.ts';
import { createFetchExchange, ISOLATION_LEVELS } from '#kafka/protocol/fetch-request.ts';
import type { FetchedPartition } from '#kafka/protocol/fetch-response.ts';
import type { LogRecord } from '#kafka/protocol/record.ts';
import { decodeRecordBatches } from '#kafka/protocol/record-batch.ts';
import { createTopicIdExchange, METADATA_API_KEY, TOPIC_ID_VERSION } from '#kafka/protocol/topic-id-request.ts';
import type { KafkaServers } from '#kafka/servers.ts';
import type { Logger } from '#service/logger.ts';

type OffsetKind = keyof typeof OFFSET_QUERIES;

export interface FetchPosition {
  readonly topic: string;
  readonly partition: number;
  /** The first offset to read. */
  readonly fromOffset: bigint;
  readonly isolation: keyof typeof ISOLATION_LEVELS;
  /** About how much one fetch reads, 4 MB by default; a larger batch is read whole. */
  readonly maxBytes?: number;
}

export interface PartitionClient extends Pick<KafkaCluster, 'forgetLeaders' | 'reconnect' | 'close'> {
  /** Null where the broker gives topics no ids. */
  readTopicId(topic: string): Promise<string | null>;
  /** Who writes to these partitions; nobody where the brokers can't tell (before Kafka 2.8). */
  describeProducers(topic: string, partitions: readonly number[]): Promise<readonly ActiveProducer[]>;
  /** The offset of that kind of every partition. */
  listOffsets(topic: string, kind: OffsetKind): Promise<Map<number, bigint>>;
  /**
   * Reads about `maxBytes` at most; waits up to 200 ms for the first record. Throws `OffsetOutOfRangeError`,
   * `BatchUnreadableError`, `BatchTooLargeError`.
   */
  fetch(at: FetchPosition): Promise<{ records: readonly LogRecord[]; nextOffset: bigint }>;
  /** The same, without decoding: whole batches, the last one perhaps in part. */
  fetchBatches(at: FetchPosition): Promise<Pick<FetchedPartition, 'aborted' | 'batches'>>;
}

const OFFSET_QUERIES = {
  earliest: { timestamp: '-2', isolationLevel: ISOLATION_LEVELS.read_uncommitted },
  'last-stable': { timestamp: '-1', isolationLevel: ISOLATION_LEVELS.read_committed },
  'high-watermark': { timestamp: '-1', isolationLevel: ISOLATION_LEVELS.read_uncommitted },
};
const OFFSET_OUT_OF_RANGE = 1;
const UNKNOWN_TOPIC_OR_PARTITION = 3;
const FETCH_WAIT_MS = 200;
export const FETCH_BYTES = 4 * 1024 * 1024;

/** Creates a {@link PartitionClient}; throws `KafkaUnavailableError` when no broker can be reached. */
export async function createPartitionClient(options: {
  kafka: KafkaServers;
  clientId: string;
  logger: Logger;
  requestTimeoutMs: number;
}): Promise<PartitionClient> {
  const cluster = await createKafkaCluster(options);
  const listOffsets: PartitionClient['listOffsets'] = async (topic, kind) => {
    const { timestamp, isolationLevel } = OFFSET_QUERIES[kind];
    const byLeader = Map.groupBy(await cluster.findLeaders(topic), ([, leader]) => leader);
    const offsets = new Map<number, bigint>();
    for (const [leader, led] of byLeader) {
      const partitions = led.map(([partition]) => ({ partition, timestamp }));
      const broker = await cluster.findBroker(leader);
      const { responses } = await broker.listOffsets({ isolationLevel, topics: [{ topic, partitions }] });
      for (const { partition, offset } of responses[0]!.partitions) offsets.set(partition, BigInt(offset));
    }
    return offsets;
  };
  const fetchBatches: PartitionClient['fetchBatches'] = async (at) => {
    const { topic, partition, fromOffset, isolation, maxBytes = FETCH_BYTES } = at;
    const leader = (await cluster.findLeaders(topic)).get(partition);
    if (leader === undefined) throw new RangeError(`Topic ${topic} has no partition ${partition}.`);
    const broker = await cluster.findBroker(leader);
    const settings = { isolation, maxWaitMs: FETCH_WAIT_MS, maxBytes, maxBytesPerPartition: maxBytes };
    const exchange = createFetchExchange([{ topic, partition, fromOffset }], settings, createKafkaError);
    const [fetched] = await broker.connectionPool.send(exchange);
    if (fetched === undefined) throw createKafkaError(UNKNOWN_TOPIC_OR_PARTITION);
    const { errorCode, aborted, batches } = fetched;
    if (errorCode === OFFSET_OUT_OF_RANGE) {
      const [earliest, latest] = [await listOffsets(topic, 'earliest'), await listOffsets(topic, 'high-watermark')];
      const held = { earliest: earliest.get(partition)!, latest: latest.get(partition)! };
      throw new OffsetOutOfRangeError({ topic, partition, requested: fromOffset, ...held });
    }
    if (errorCode !== 0) throw createKafkaError(errorCode);
    return { aborted, batches };
  };
  return {
    close: cluster.close,
    reconnect: cluster.reconnect,
    forgetLeaders: cluster.forgetLeaders,
    listOffsets,
    async readTopicId(topic) {
      const [leader] = (await cluster.findLeaders(topic)).values();
      if (leader === undefined) throw createKafkaError(UNKNOWN_TOPIC_OR_PARTITION);
      const broker = await cluster.findBroker(leader);
      if ((broker.versions?.[METADATA_API_KEY]?.maxVersion ?? 0) < TOPIC_ID_VERSION) return null;
      return broker.connectionPool.send(createTopicIdExchange(topic, createKafkaError));
    },
    async describeProducers(topic, partitions) {
      const leaders = await cluster.findLeaders(topic);
      const byLeader = Map.groupBy(partitions, (partition) => leaders.get(partition));
      const found: ActiveProducer[] = [];
      for (const [leader, led] of byLeader) {
        if (leader === undefined) throw createKafkaError(UNKNOWN_TOPIC_OR_PARTITION);
        const broker = await cluster.findBroker(leader);
        if (broker.versions?.[DESCRIBE_PRODUCERS_API_KEY] === undefined) return [];
        const exchange = createDescribeProducersExchange(topic, led, createKafkaError);
        found.push(...(await broker.connectionPool.send(exchange)));
      }
      return found;
    },
    fetchBatches,
    async fetch(at) {
      const { topic, partition, fromOffset, isolation } = at;
      const { aborted, batches } = await fetchBatches(at);
      return decodeRecordBatches(batches, {
        topic,
        partition,
        fromOffset,
        aborted: isolation === 'read_committed' ? aborted : undefined,
      });
    },
  };
}
