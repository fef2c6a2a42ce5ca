// A Fetch request of version 11 (Kafka 2.3 and newer) over kafkajs's connections, and what it brings. One request covers any
// number of partitions that one broker leads. Errors are left to the caller: Kafka has one a partition.
import { createRequire } from 'node:module';
import type { KafkaExchange } from './cluster.ts';
import { decodeFetchResponse, type FetchedPartition, type FetchResponse } from './fetch-response.ts';

export interface FetchSettings {
  readonly isolation: keyof typeof ISOLATION_LEVELS;
  /** How long the broker waits for the first record. */
  readonly maxWaitMs: number;
  /** Of the whole response; the first batch of the first partition that has any comes whole, whatever its size. */
  readonly maxBytes: number;
  readonly maxBytesPerPartition: number;
}

export interface FetchFrom {
  readonly topic: string;
  readonly partition: number;
  /** The first offset to read. */
  readonly fromOffset: bigint;
}

export type FetchedTopicPartition = FetchedPartition & { readonly topic: string };

const encodeRequest = createRequire(import.meta.url)('kafkajs/src/protocol/requests/fetch/v11/request') as (
  request: object,
) => object;

export const ISOLATION_LEVELS = { read_uncommitted: 0, read_committed: 1 };
const NO_REPLICA = -1;

/** The broker fills the response in the order of `wanted`. `fail` makes the error to throw of one that concerns them all. */
export function createFetchExchange(
  wanted: readonly FetchFrom[],
  { isolation, maxWaitMs, maxBytes, maxBytesPerPartition }: FetchSettings,
  fail: (errorCode: number) => Error,
): KafkaExchange<readonly FetchedTopicPartition[]> {
  // In runs of one topic, so that the order of the partitions stays as it is.
  const topics: { topic: string; partitions: object[] }[] = [];
  for (const { topic, partition, fromOffset } of wanted) {
    if (topics.at(-1)?.topic !== topic) topics.push({ topic, partitions: [] });
    topics.at(-1)!.partitions.push({ partition, fetchOffset: fromOffset.toString(), maxBytes: maxBytesPerPartition });
  }
  const request = encodeRequest({
    replicaId: NO_REPLICA,
    isolationLevel: ISOLATION_LEVELS[isolation],
    maxWaitTime: maxWaitMs,
    minBytes: 1,
    maxBytes,
    topics,
  });
  return {
    request,
    response: {
      decode: async (bytes) => {
        const response = decodeFetchResponse(bytes);
        // kafkajs waits that long before the next request on this connection.
        return { ...response, clientSideThrottleTime: response.throttleTimeMs };
      },
      parse: async (decoded) => {
        const { errorCode, topics: fetched } = decoded as FetchResponse;
        if (errorCode !== 0) throw fail(errorCode);
        return fetched.flatMap(({ topic, partitions }) => partitions.map((partition) => ({ topic, ...partition })));
      },
    },
  };
}
