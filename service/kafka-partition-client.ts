// ListOffsets and Fetch, straight to the leader of a partition: kafkajs's admin tells only the last stable offset, and
// its consumer can't read without a group. One attempt a call: a failure (a leader that moved, a broker that is away)
// throws what kafkajs throws, and trying again is left to kafka-log.ts. What batches hold is decoded elsewhere.

import { createRequire } from 'node:module';
import type { AbortedTransaction } from '#service/kafka-aborted.ts';
import { createKafkaCluster, type KafkaCluster } from '#service/kafka-cluster.ts';
import { createKafkaError, OffsetOutOfRangeError } from '#service/kafka-errors.ts';
import { decodeRecordBatches, type LogRecord } from '#service/kafka-record-batch.ts';
import type { Logger } from '#service/logger.ts';

export type Isolation = 'read_committed' | 'read_uncommitted';
export type OffsetKind = 'earliest' | 'last-stable' | 'high-watermark';

export interface PartitionClient extends Pick<KafkaCluster, 'forgetLeaders' | 'reconnect' | 'close'> {
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
}

interface FetchedPartition {
  readonly errorCode: number;
  readonly aborted: AbortedTransaction[];
  readonly batches: Buffer;
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

const require = createRequire(import.meta.url);
const DecoderClass = require('kafkajs/src/protocol/decoder') as new (bytes: Buffer) => Decoder;
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
  const cluster = await createKafkaCluster(options);
  const listOffsets: PartitionClient['listOffsets'] = async (topic, kind) => {
    const { timestamp, isolationLevel } = offsetQueries[kind];
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
  return {
    close: cluster.close,
    reconnect: cluster.reconnect,
    forgetLeaders: cluster.forgetLeaders,
    listOffsets,
    async fetch({ topic, partition, fromOffset, isolation }) {
      const leader = (await cluster.findLeaders(topic)).get(partition);
      if (leader === undefined) throw new RangeError(`Topic ${topic} has no partition ${partition}.`);
      const broker = await cluster.findBroker(leader);
      const request = fetchRequest({
        replicaId: -1,
        isolationLevel: isolationLevels[isolation],
        maxWaitTime: fetchWaitMs,
        minBytes: 1,
        maxBytes: fetchBytes,
        topics: [{ topic, partitions: [{ partition, fetchOffset: fromOffset.toString(), maxBytes: fetchBytes }] }],
      });
      const { errorCode, aborted, batches } = await broker.connectionPool.send({ request, response: fetchResponse });
      if (errorCode === offsetOutOfRange) {
        const [earliest, latest] = [await listOffsets(topic, 'earliest'), await listOffsets(topic, 'high-watermark')];
        const held = { earliest: earliest.get(partition)!, latest: latest.get(partition)! };
        throw new OffsetOutOfRangeError({ topic, partition, requested: fromOffset, ...held });
      }
      if (errorCode !== 0) throw createKafkaError(errorCode);
      return decodeRecordBatches(batches, {
        fromOffset,
        aborted: isolation === 'read_committed' ? aborted : undefined,
      });
    },
  };
}

const fetchResponse = {
  decode: async (answer: Buffer): Promise<object> => decodeFetchAnswer(answer),
  parse: async (decoded: object) => decoded as FetchedPartition,
};

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
