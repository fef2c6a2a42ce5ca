// What kafkajs's own producer does, and why the reader does not use it (kafka/producer/transaction-client.ts). When an
// upgrade turns one of these red, that file can be thought about again.

import { createRequire } from 'node:module';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createKafkaFixture, cutRequest, type KafkaFixture, loseAnswer } from '../support/kafka/fixture.ts';
import { kafkaApi } from '../support/kafka/frames.ts';
import { type ProxiedKafka, startProxiedKafka } from '../support/kafka/proxied-kafka.ts';
import { readTopic } from '../support/oracle/read-topic.ts';
import { createTestDirectory, removeTestDirectory } from '../support/process/test-directory.ts';
import { waitFor } from '../support/wait.ts';

const require = createRequire(import.meta.url);
const createRetry = require('kafkajs/src/retry') as (options: object) => unknown;
const { createErrorFromCode } = require('kafkajs/src/protocol/error') as { createErrorFromCode(code: number): Error };
type SendMessages = (batch: object) => Promise<{ topicName: string; partition: number }[]>;
const createSendMessages = require('kafkajs/src/producer/sendMessages') as (parts: object) => SendMessages;

const notLeader = 6;
interface TopicData {
  topicData: { topic: string; partitions: { partition: number; firstSequence: number; messages: unknown[] }[] }[];
}

/** A topic whose partition 0 moves from broker 1 to broker 2, where partition 1 is, as soon as metadata is read again. */
function sendDuringLeaderMove(produce: { [broker: number]: (request: TopicData) => Promise<void> }) {
  const leaders = [1, 2];
  const sequences = new Map<number, number>();
  const sent: { broker: number; partition: number; firstSequence: number }[] = [];
  const brokers = [1, 2].map((nodeId) => ({
    nodeId,
    async produce(request: TopicData) {
      const partitions = request.topicData.flatMap((topic) => topic.partitions);
      for (const { partition, firstSequence } of partitions) sent.push({ broker: nodeId, partition, firstSequence });
      await produce[nodeId]?.(request);
      const answers = partitions.map(({ partition }) => ({ partition, errorCode: 0, baseOffset: '0' }));
      return { topics: [{ topicName: 't', partitions: answers }] };
    },
  }));
  const nothing = async () => undefined;
  const send = createSendMessages({
    logger: { debug() {}, error() {} },
    partitioner: ({ message }: { message: { partition: number } }) => message.partition,
    retrier: createRetry({ retries: 3, initialRetryTime: 1 }),
    eosManager: {
      isTransactional: () => false,
      acquireBrokerLock: nothing,
      releaseBrokerLock: nothing,
      getProducerId: () => 1,
      getProducerEpoch: () => 0,
      getSequence: (_topic: string, partition: number) => sequences.get(partition) ?? 0,
      updateSequence: (_topic: string, partition: number, count: number) =>
        sequences.set(partition, (sequences.get(partition) ?? 0) + count),
    },
    cluster: {
      isConnected: () => true,
      refreshMetadataIfNecessary: nothing,
      addMultipleTargetTopics: nothing,
      refreshMetadata: async () => {
        leaders[0] = 2;
      },
      findTopicPartitionMetadata: () => leaders.map((leader, partitionId) => ({ partitionId, leader })),
      findLeaderForPartitions: (_topic: string, partitions: string[]) =>
        Object.groupBy(partitions.map(Number), (partition) => String(leaders[partition])),
      findBroker: async ({ nodeId }: { nodeId: string }) => brokers[Number(nodeId) - 1],
    },
  });
  const messages = [0, 1].map((partition) => ({ partition, value: `for ${partition}` }));
  return { sent, result: send({ acks: -1, topicMessages: [{ topic: 't', messages }] }) };
}

describe("kafkajs's send while a leader moves", () => {
  it('resolves although the messages of the partition that moved were never stored (trap 1)', async () => {
    let answered = () => {};
    const otherAnswered = new Promise<void>((resolve) => {
      answered = resolve;
    });
    const { result, sent } = sendDuringLeaderMove({
      1: async () => {
        await otherAnswered;
        // A turn later, so that the answer of broker 2 has been noted.
        await new Promise(setImmediate);
        throw createErrorFromCode(notLeader);
      },
      2: async () => answered(),
    });
    expect((await result).map(({ partition }) => partition)).toEqual([1]);
    expect(sent.filter(({ broker, partition }) => broker === 2 && partition === 0)).toEqual([]);
  });

  it('stores messages of another partition twice, under new sequence numbers, when that leader was slow (trap 2)', async () => {
    let release = () => {};
    const slow = new Promise<void>((resolve) => {
      release = resolve;
    });
    let requests = 0;
    const { result, sent } = sendDuringLeaderMove({
      1: async () => {
        throw createErrorFromCode(notLeader);
      },
      2: async () => {
        requests += 1;
        if (requests === 1) await slow;
        else release();
      },
    });
    await result;
    expect(sent.filter(({ partition }) => partition === 1)).toEqual([
      { broker: 2, partition: 1, firstSequence: 0 },
      { broker: 2, partition: 1, firstSequence: 1 },
    ]);
  });
});

describe("the end of kafkajs's transactions", () => {
  let directory: string;
  let proxied: ProxiedKafka;
  let fixture: KafkaFixture;

  beforeAll(async () => {
    directory = createTestDirectory('kafkajs-producer');
    proxied = await startProxiedKafka({ directory });
    fixture = createKafkaFixture('kafkajs-producer', proxied.kafka.bootstrap, proxied.kafka.directBootstrap);
  });
  afterAll(async () => {
    await fixture?.cleanUp();
    await proxied?.close();
    removeTestDirectory(directory);
  });

  it.each([
    { fault: 'its request is lost', lose: cutRequest, outcome: 'open' },
    { fault: 'its answer is lost', lose: loseAnswer, outcome: 'committed' },
  ] as const)(
    'is tried once, wedges the producer and tells nothing, when $fault (trap 3)',
    async ({ lose, outcome }) => {
      const topic = await fixture.createTopic();
      const producer = fixture.kafka.producer({ transactionalId: topic, maxInFlightRequests: 1 });
      await producer.connect();
      const transaction = await producer.transaction();
      await transaction.send({ topic, messages: [{ key: 'k', value: 'v', partition: 0 }] });
      const lost = lose(proxied.proxies[0]!, kafkaApi.endTxn);
      await expect(transaction.commit()).rejects.toThrow(/connection/i);
      expect(lost.seen()).toBe(1);
      lost.stop();
      await expect(transaction.abort()).rejects.toThrow();
      await expect(producer.transaction()).rejects.toThrow(/COMMITTING/);
      const brokers = proxied.kafka.directBootstrap.split(',');
      await waitFor(`the record to be ${outcome}`, async () => {
        const [partition] = await readTopic({ brokers, topic, deadlineMs: 10_000 });
        return partition!.records[0]?.outcome === outcome;
      });
      await producer.disconnect();
    },
  );
});
