// What kafkajs's consumer and admin do that the sink and our log reader live with, or read the log themselves for.

import { createRequire } from 'node:module';
import type { EachBatchHandler } from 'kafkajs';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { withKafkaAdmin } from '../support/kafka/admin.ts';
import { createKafkaFixture, type KafkaFixture, recordsFor } from '../support/kafka/fixture.ts';
import { waitFor } from '../support/wait.ts';

interface Message {
  readonly offset: string;
  readonly key: Buffer;
  readonly batchContext: { readonly producerId: string; readonly inTransaction: boolean };
}
const filterAborted = createRequire(import.meta.url)('kafkajs/src/consumer/filterAbortedMessages') as (options: {
  messages: Message[];
  abortedTransactions: { producerId: string; firstOffset: string }[];
}) => Message[];

const message = (offset: number, producer: number, key: string | Buffer = 'k'): Message => ({
  offset: String(offset),
  key: Buffer.from(key),
  batchContext: { producerId: String(producer), inTransaction: true },
});
const marker = Buffer.alloc(4);

describe("kafkajs's read_committed (trap 4)", () => {
  it('leaks aborted records when the fetch begins inside of several aborted transactions', () => {
    const abortedTransactions = [
      { producerId: '1', firstOffset: '0' },
      { producerId: '2', firstOffset: '1' },
    ];
    const messages = [message(5, 2), message(6, 2), message(7, 1, marker), message(8, 2, marker)];
    const kept = filterAborted({ messages, abortedTransactions });
    // It takes one aborted transaction a message, so that the second one's first message passes.
    expect(kept.map(({ offset }) => offset)).toContain('5');
  });

  it('takes a record whose key is four zero bytes for the end of an aborted transaction', () => {
    const abortedTransactions = [{ producerId: '1', firstOffset: '0' }];
    const messages = [message(0, 1, '\0\0\0\0'), message(1, 1), message(2, 1, marker)];
    expect(filterAborted({ messages, abortedTransactions }).map(({ offset }) => offset)).toContain('1');
  });
});

describe('kafkajs against a broker', () => {
  let fixture: KafkaFixture;

  beforeAll(() => {
    fixture = createKafkaFixture('kafkajs-consumer', inject('servers').brokers);
  });
  afterAll(() => fixture.cleanUp());

  it('jumps silently from an offset that is gone, and commits the jump with autoCommit off (trap 5)', async () => {
    const topic = await fixture.createTopic();
    const producer = await fixture.createProducer({ transactionalId: topic });
    const transaction = await producer.begin();
    await transaction.send(recordsFor(topic, 0, 10));
    await transaction.commit();
    const groupId = `${fixture.id}-group`;
    const consumer = fixture.kafka.consumer({
      groupId,
      allowAutoTopicCreation: false,
      maxWaitTimeInMs: 100,
      retry: { retries: 5, initialRetryTime: 20 },
    });
    const starts: string[] = [];
    const crashes: string[] = [];
    consumer.on(consumer.events.CRASH, ({ payload }) => crashes.push(payload.error.message));
    await withKafkaAdmin(inject('servers').brokers, async (admin) => {
      await admin.fetchTopicOffsets(topic);
      await admin.setOffsets({ groupId, topic, partitions: [{ partition: 0, offset: '2' }] });
      await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '6' }] });
      await consumer.connect();
      try {
        await consumer.subscribe({ topics: [topic], fromBeginning: true });
        const eachBatch: EachBatchHandler = async ({ batch }) => void starts.push(batch.firstOffset() ?? 'none');
        await consumer.run({ autoCommit: false, eachBatch });
        await waitFor('a batch', () => starts.length > 0, { deadlineMs: 30_000 });
        expect(starts[0]).toBe('6');
        expect(crashes).toEqual([]);
        const [offsets] = await admin.fetchOffsets({ groupId, topics: [topic] });
        // −2 stands for the earliest; what the group had stored, 2, is gone.
        expect(offsets!.partitions[0]!.offset).toBe('-2');
      } finally {
        await consumer.disconnect();
      }
    });
  });

  it('tells the last stable offset where it says high watermark (trap 13)', async () => {
    const topic = await fixture.createTopic();
    const producer = await fixture.createProducer({ transactionalId: topic });
    await (await producer.begin()).send(recordsFor(topic, 0, 3));
    const [offsets] = await withKafkaAdmin(inject('servers').brokers, (admin) => admin.fetchTopicOffsets(topic));
    expect(offsets).toMatchObject({ high: '0', offset: '0' });
    const log = await fixture.createLog();
    expect((await log.readOffsets(topic)).get(0)).toEqual({ earliest: 0n, lastStable: 0n, highWatermark: 3n });
  });
});
