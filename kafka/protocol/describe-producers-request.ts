// Asks the leader of partitions which producers write to them, and where a transaction of theirs is open: DescribeProducers,
// version 0 (Kafka 2.8, KIP-664), which kafkajs lacks. It needs READ on the topic. Pure; which partitions to ask about is
// open-transactions.ts's.
import type { KafkaExchange } from './cluster.ts';
import { CompactReader, encodeCompactString, encodeVarint, NO_TAGS } from './compact-bytes.ts';

export const DESCRIBE_PRODUCERS_API_KEY = 61;
const VERSION = 0;

export interface ActiveProducer {
  readonly partition: number;
  readonly producerId: bigint;
  readonly producerEpoch: number;
  /** Of its newest batch in this partition, in milliseconds since 1970; -1: unknown. */
  readonly lastTimestampMs: number;
  /** The first offset of its open transaction; -1: none is open. */
  readonly transactionStartOffset: bigint;
}

interface Response {
  readonly clientSideThrottleTime: number;
  readonly partitions: readonly { readonly errorCode: number; readonly producers: readonly ActiveProducer[] }[];
}

/** `fail` makes the error to throw of Kafka's error code. */
export function createDescribeProducersExchange(
  topic: string,
  partitions: readonly number[],
  fail: (errorCode: number) => Error,
): KafkaExchange<readonly ActiveProducer[]> {
  return {
    request: {
      apiKey: DESCRIBE_PRODUCERS_API_KEY,
      apiVersion: VERSION,
      apiName: 'DescribeProducers',
      // kafkajs expects its own encoder here, and reads these two of its fields.
      encode: async () => {
        const buffer = encodeDescribeProducers(topic, partitions);
        return { buf: buffer, buffer };
      },
    },
    response: {
      decode: async (bytes) => decodeDescribeProducers(bytes),
      parse: async (decoded) => {
        const { partitions: found } = decoded as Response;
        const failed = found.find(({ errorCode }) => errorCode !== 0);
        if (failed !== undefined) throw fail(failed.errorCode);
        return found.flatMap(({ producers }) => producers);
      },
    },
  };
}

/** The body behind kafkajs's request header, which lacks the tags that a flexible version ends it with. */
export function encodeDescribeProducers(topic: string, partitions: readonly number[]): Buffer {
  const indexes = Buffer.alloc(4 * partitions.length);
  for (const [index, partition] of partitions.entries()) indexes.writeInt32BE(partition, 4 * index);
  const one = [encodeVarint(2), encodeCompactString(topic), encodeVarint(partitions.length + 1), indexes, NO_TAGS];
  return Buffer.concat([NO_TAGS, ...one, NO_TAGS]);
}

/** @throws RangeError if the bytes end too early */
export function decodeDescribeProducers(bytes: Buffer): Response {
  const reader = new CompactReader(bytes);
  reader.skipTags(); // of the response header
  const clientSideThrottleTime = reader.int32();
  const topics = reader.array(() => {
    reader.string(); // name
    return reader.array(() => {
      const partition = reader.int32();
      const errorCode = reader.int16();
      reader.string(); // message
      const producers = reader.array(() => readProducer(reader, partition));
      return { errorCode, producers };
    });
  });
  return { clientSideThrottleTime, partitions: topics.flat() };
}

function readProducer(reader: CompactReader, partition: number): ActiveProducer {
  const producerId = reader.int64();
  const producerEpoch = reader.int32();
  reader.int32(); // last sequence
  const lastTimestampMs = Number(reader.int64()); // before the year 285,000
  reader.int32(); // coordinator epoch
  return { partition, producerId, producerEpoch, lastTimestampMs, transactionStartOffset: reader.int64() };
}
