// The oracle's reading of a real log: what became of each record, in transactions that committed, aborted, overlap or
// never ended, and over more than one fetch.

import { randomBytes } from 'node:crypto';
import { CompressionTypes, Kafka, logLevel, type Producer } from 'kafkajs';
import { afterEach, beforeEach, expect, inject, test } from 'vitest';
import { deleteGroupsAndTopics, withKafkaAdmin } from '../../support/kafka/admin.ts';
import { readTopic } from '../../support/oracle/read-topic.ts';

const brokers = inject('servers').brokers;
const topic = `oracle-${randomBytes(4).toString('hex')}`;
const producers: Producer[] = [];

async function connectProducer(transactional: boolean): Promise<Producer> {
  const kafka = new Kafka({
    clientId: 'oracle-test',
    brokers: brokers.split(','),
    logLevel: logLevel.NOTHING,
    retry: { initialRetryTime: 10, retries: 20 },
  });
  const producer = transactional
    ? kafka.producer({ transactionalId: `${topic}-${producers.length}`, idempotent: true, maxInFlightRequests: 1 })
    : kafka.producer();
  await producer.connect();
  producers.push(producer);
  return producer;
}

beforeEach(() =>
  withKafkaAdmin(brokers, (admin) =>
    admin.createTopics({ topics: [{ topic, numPartitions: 2, replicationFactor: 1 }], waitForLeaders: true }),
  ),
);
afterEach(async () => {
  await Promise.all(producers.splice(0).map((producer) => producer.disconnect()));
  await deleteGroupsAndTopics(brokers, topic);
});

const message = (value: string) => ({ partition: 0, key: 'user', value, headers: { a: 'b' } });
const readOutcomes = async () => {
  const [log] = await readTopic({ brokers: brokers.split(','), topic, deadlineMs: 10_000 });
  return { ...log!, outcomes: Object.fromEntries(log!.records.map(({ value, outcome }) => [String(value), outcome])) };
};

test('a topic that does not exist has no partitions', async () => {
  expect(await readTopic({ brokers: brokers.split(','), topic: `${topic}-never`, deadlineMs: 10_000 })).toEqual([]);
});

test('each record is judged by the marker that ends its own transaction', async () => {
  const [one, other, plain] = [await connectProducer(true), await connectProducer(true), await connectProducer(false)];
  const aborted = await one.transaction();
  await aborted.send({ topic, messages: [message('aborted')] });
  const committed = await other.transaction();
  await committed.send({ topic, messages: [message('committed')], compression: CompressionTypes.GZIP });
  await aborted.abort();
  await plain.send({ topic, messages: [message('plain')] });
  await committed.send({ topic, messages: [message('committed later')] });
  await committed.commit();
  const open = await one.transaction();
  await open.send({ topic, messages: [message('open')] });

  const log = await readOutcomes();
  expect(log.outcomes).toEqual({
    aborted: 'aborted',
    committed: 'committed',
    plain: 'committed',
    'committed later': 'committed',
    open: 'open',
  });
  expect(log.records.map(({ transactional }) => transactional)).toEqual([true, true, false, true, true]);
  expect(String(log.records[0]!.key)).toBe('user');
  expect(log.earliest).toBe(0n);
  expect(log.highWatermark).toBe(7n); // five records and the markers of two ended transactions
  expect(log.lastStable).toBe(6n);

  await open.commit();
  const after = await readOutcomes();
  expect(after.outcomes.open).toBe('committed');
  expect([after.lastStable, after.highWatermark]).toEqual([8n, 8n]);
});

test('a log of many fetches is read whole, from where its deleted beginning ends', async () => {
  const producer = await connectProducer(false);
  const filler = 'x'.repeat(100_000);
  for (let send = 0; send < 25; send += 1) {
    const messages = Array.from({ length: 8 }, (_, index) => message(`${send * 8 + index} ${filler}`));
    await producer.send({ topic, messages });
  }
  const whole = await readOutcomes();
  expect(whole.records.map(({ offset }) => offset)).toEqual(Array.from({ length: 200 }, (_, index) => BigInt(index)));
  expect(whole.records.every(({ value, offset }) => String(value) === `${offset} ${filler}`)).toBe(true);

  await withKafkaAdmin(brokers, async (admin) => {
    await admin.fetchTopicOffsets(topic); // kafkajs deletes only from topics whose metadata it has loaded
    await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '60' }] });
  });
  const rest = await readOutcomes();
  expect(rest.earliest).toBe(60n);
  expect(rest.records[0]!.offset).toBe(60n);
  expect(rest.records).toHaveLength(140);
});
