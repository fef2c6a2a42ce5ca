// What a test of our Kafka code needs of one cluster: topics with names of its own, clients that are closed when it ends,
// and hooks that lose a request or its answer on the way. cleanUp() takes everything away again.

import { randomBytes } from 'node:crypto';
import type { Kafka } from 'kafkajs';
import { createKafkaClient } from '#kafka/client.ts';
import type { SendBounds } from '#kafka/producer/split-sends.ts';
import {
  createTransactionalProducer,
  type OutgoingRecord,
  type TransactionalProducer,
} from '#kafka/producer/transactional-producer.ts';
import { createKafkaLog, type KafkaLog, type LogRecord, type ReadOptions } from '#kafka/reading/log.ts';
import { plainServers } from '#kafka/servers.ts';
import type { TcpProxy } from '../network/tcp-proxy.ts';
import { waitFor } from '../wait.ts';
import { deleteGroupsAndTopics, silentLogger, withKafkaAdmin } from './admin.ts';
import { createKafkaAnswerReader, createKafkaRequestReader } from './frames.ts';

export type KafkaFixture = {
  readonly id: string;
  readonly brokers: string[];
  /** A client with our settings. */
  readonly kafka: Kafka;
  /** Creates a topic and waits until its leaders are known; returns its name. */
  createTopic(partitions?: number, settings?: Record<string, string>, replicas?: number): Promise<string>;
  createLog(options?: { requestTimeoutMs?: number }): Promise<KafkaLog>;
  createProducer(options?: ProducerOptions): Promise<TransactionalProducer>;
  cleanUp(): Promise<void>;
};

type ProducerOptions = {
  transactionalId?: string;
  transactionTimeoutMs?: number;
  requestTimeoutMs?: number;
  compression?: 'none' | 'gzip';
  bounds?: Partial<SendBounds>;
};

/** `brokers` and `directBrokers` are comma-separated; the latter are past any proxy. */
export function createKafkaFixture(label: string, brokers: string, directBrokers = brokers): KafkaFixture {
  const id = `${label}-${randomBytes(4).toString('hex')}`;
  const list = brokers.split(',');
  const open: { close(): Promise<void> }[] = [];
  const kafka = createKafkaClient({ kafka: plainServers(list), clientId: id, logger: silentLogger });
  const keep = <T extends { close(): Promise<void> }>(closable: T): T => {
    open.push(closable);
    return closable;
  };
  let topics = 0;
  return {
    id,
    brokers: list,
    kafka,
    async createTopic(partitions = 1, settings = {}, replicas = 1) {
      topics += 1;
      const topic = `${id}.${topics}`;
      const configEntries = Object.entries(settings).map(([name, value]) => ({ name, value }));
      await withKafkaAdmin(directBrokers, async (admin) => {
        await admin.createTopics({
          topics: [{ topic, numPartitions: partitions, replicationFactor: replicas, configEntries }],
        });
        await waitFor(`topic ${topic}`, async () => (await admin.fetchTopicOffsets(topic)).length === partitions);
      });
      return topic;
    },
    createLog: async (options = {}) =>
      keep(await createKafkaLog({ kafka: plainServers(list), clientId: id, logger: silentLogger, ...options })),
    createProducer: async (options = {}) =>
      keep(
        await createTransactionalProducer({
          kafka: plainServers(list),
          clientId: id,
          logger: silentLogger,
          transactionalId: id,
          transactionTimeoutMs: 30_000,
          requestTimeoutMs: 10_000,
          ...options,
        }),
      ),
    async cleanUp() {
      await Promise.all(open.splice(0).map((closable) => closable.close()));
      await deleteGroupsAndTopics(directBrokers, id);
    },
  };
}

/** `count` records for one partition, whose values are `label` and a number. */
export function recordsFor(topic: string, partition: number, count: number, label = 'value'): OutgoingRecord[] {
  return Array.from({ length: count }, (_, index) => ({
    topic,
    partition,
    key: `key-${index}`,
    value: Buffer.from(`${label} ${index}`),
  }));
}

/** Everything that a read gives. */
export async function readAll(log: KafkaLog, options: Partial<ReadOptions> & { topic: string }): Promise<LogRecord[]> {
  const partition = options.partition ?? 0;
  const { earliest, highWatermark } = (await log.readOffsets(options.topic)).get(partition)!;
  const defaults = { partition, fromOffset: earliest, untilOffset: highWatermark, deadlineMs: 10_000 };
  const records: LogRecord[] = [];
  for await (const batch of log.readRecords({ ...defaults, isolation: 'read_committed', ...options })) {
    records.push(...batch);
  }
  return records;
}

/** Cuts the connection of the next request of `apiKey`, before the broker sees it. Tells how many were seen. */
export function cutRequest(proxy: TcpProxy, apiKey: number): { seen(): number; stop(): void } {
  let seen = 0;
  const readers = new Map<number, ReturnType<typeof createKafkaRequestReader>>();
  proxy.onClientData((data, { id }) => {
    const found = readers
      .getOrInsertComputed(
        id,
        createKafkaRequestReader,
      )(data)
      .find((frame) => frame.apiKey === apiKey);
    if (found === undefined) return data;
    seen += 1;
    return { forward: data.subarray(0, found.startByte), rest: 'cut' };
  });
  return { seen: () => seen, stop: () => proxy.onClientData(undefined) };
}

/**
 * Lets requests of `apiKey` through, and cuts (or holds) the connection where the answer would begin. Tells how many
 * requests were seen, and how many answers lost: whoever repeats does so within milliseconds, until stop().
 */
export function loseAnswer(
  proxy: TcpProxy,
  apiKey: number,
  how: 'cut' | 'hold' = 'cut',
): { seen(): number; lost(): number; stop(): void } {
  let seen = 0;
  let lost = 0;
  const requests = new Map<number, ReturnType<typeof createKafkaRequestReader>>();
  const answers = new Map<number, ReturnType<typeof createKafkaAnswerReader>>();
  const awaited = new Map<number, Set<number>>();
  proxy.onClientData((data, { id }) => {
    for (const frame of requests.getOrInsertComputed(id, createKafkaRequestReader)(data)) {
      if (frame.apiKey !== apiKey) continue;
      seen += 1;
      awaited.getOrInsertComputed(id, () => new Set()).add(frame.correlationId);
    }
    return data;
  });
  proxy.onServerData((data, { id }) => {
    const frames = answers.getOrInsertComputed(id, createKafkaAnswerReader)(data);
    const found = frames.find(({ correlationId }) => awaited.get(id)?.has(correlationId));
    if (found === undefined) return data;
    lost += 1;
    return { forward: data.subarray(0, found.startByte), rest: how };
  });
  const stop = () => {
    proxy.onClientData(undefined);
    proxy.onServerData(undefined);
  };
  return { seen: () => seen, lost: () => lost, stop };
}
