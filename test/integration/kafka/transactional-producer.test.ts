// The reader's producer against a real broker, read back by the oracle's own eyes (test/support/oracle/read-topic.ts), which
// know neither kafkajs nor our decoder.

import { afterAll, afterEach, beforeAll, describe, expect, inject, it } from 'vitest';
import { createTransactionalProducer } from '#kafka/producer/transactional-producer.ts';
import { plainServers } from '#kafka/servers.ts';
import { freePort } from '../../../dev/process/ports.ts';
import { silentLogger } from '../../support/kafka/admin.ts';
import {
  createKafkaFixture,
  cutRequest,
  type KafkaFixture,
  loseAnswer,
  recordsFor,
} from '../../support/kafka/fixture.ts';
import { kafkaApi } from '../../support/kafka/frames.ts';
import { type ProxiedKafka, startProxiedKafka } from '../../support/kafka/proxied-kafka.ts';
import { readTopic } from '../../support/oracle/read-topic.ts';
import { createTestDirectory, removeTestDirectory } from '../../support/process/test-directory.ts';
import { waitFor } from '../../support/wait.ts';

/** Of every partition the values that are committed, once no transaction is open: commits are marked a moment later. */
const committedValues = async (brokers: readonly string[], topic: string) => {
  const settled = await waitFor('the markers', async () => {
    const partitions = await readTopic({ brokers, topic, deadlineMs: 10_000 });
    return partitions.every(({ records }) => records.every(({ outcome }) => outcome !== 'open')) && partitions;
  });
  return settled.map(({ records }) =>
    records.filter(({ outcome }) => outcome === 'committed').map(({ value }) => value?.toString()),
  );
};

describe('the transactional producer', () => {
  let fixture: KafkaFixture;

  beforeAll(() => {
    fixture = createKafkaFixture('producer', inject('servers').brokers);
  });
  afterAll(() => fixture.cleanUp());

  it('makes the records of all topics of a transaction visible with its commit, and tells where they went', async () => {
    const [orders, checkpoints] = [await fixture.createTopic(3), await fixture.createTopic()];
    const producer = await fixture.createProducer({ transactionalId: orders });
    for (const round of [0, 1]) {
      const transaction = await producer.begin();
      const sentTo = await transaction.send([
        ...recordsFor(orders, 0, 2, `round ${round}`),
        ...recordsFor(orders, 2, 1, `round ${round}`),
        ...recordsFor(checkpoints, 0, 1, `checkpoint ${round}`),
      ]);
      // The second round comes after the first one's commit markers.
      expect(new Map(sentTo.map((part) => [`${part.topic}/${part.partition}`, part.baseOffset]))).toEqual(
        new Map([
          [`${orders}/0`, BigInt(round * 3)],
          [`${orders}/2`, BigInt(round * 2)],
          [`${checkpoints}/0`, BigInt(round * 2)],
        ]),
      );
      await transaction.commit();
    }
    expect(await committedValues(fixture.brokers, orders)).toEqual([
      ['round 0 0', 'round 0 1', 'round 1 0', 'round 1 1'],
      [],
      ['round 0 0', 'round 1 0'],
    ]);
    expect(await committedValues(fixture.brokers, checkpoints)).toEqual([['checkpoint 0 0', 'checkpoint 1 0']]);
    const [first] = await readTopic({ brokers: fixture.brokers, topic: orders, deadlineMs: 10_000 });
    expect(first!.records[0]!.key?.toString()).toBe('key-0');
  });

  it('makes nothing of an aborted transaction visible, and goes on after it', async () => {
    const topic = await fixture.createTopic();
    const producer = await fixture.createProducer({ transactionalId: topic });
    const aborted = await producer.begin();
    await aborted.send(recordsFor(topic, 0, 2, 'aborted'));
    await aborted.abort();
    const committed = await producer.begin();
    expect((await committed.send(recordsFor(topic, 0, 1, 'committed')))[0]!.baseOffset).toBe(3n);
    await committed.commit();
    expect(await committedValues(fixture.brokers, topic)).toEqual([['committed 0']]);
  });

  it('ends a transaction in which nothing was sent without disturbing the next', async () => {
    const topic = await fixture.createTopic();
    const producer = await fixture.createProducer({ transactionalId: topic });
    await (await producer.begin()).commit();
    await (await producer.begin()).abort();
    const transaction = await producer.begin();
    expect(await transaction.send([])).toEqual([]);
    await transaction.send(recordsFor(topic, 0, 1));
    await transaction.commit();
    expect(await committedValues(fixture.brokers, topic)).toEqual([['value 0']]);
  });

  it('splits a large transaction into several sends, and keeps the order of each partition', async () => {
    const topic = await fixture.createTopic(2);
    const producer = await fixture.createProducer({ transactionalId: topic });
    const many = recordsFor(topic, 0, 4_500);
    // Three megabytes in one partition: three times of what Kafka takes as one batch.
    const large = recordsFor(topic, 1, 60).map((record) => ({ ...record, value: Buffer.alloc(50_000, record.value) }));
    const transaction = await producer.begin();
    const sentTo = await transaction.send([...many, ...large]);
    await transaction.commit();
    expect(sentTo).toHaveLength(2);
    expect(sentTo).toContainEqual({ topic, partition: 0, baseOffset: 0n });
    expect(sentTo).toContainEqual({ topic, partition: 1, baseOffset: 0n });
    const [first, second] = await committedValues(fixture.brokers, topic);
    expect(first).toEqual(many.map(({ value }) => value.toString()));
    expect(second).toEqual(large.map(({ value }) => value.toString()));
  });

  it('sends headers along', async () => {
    const topic = await fixture.createTopic();
    const producer = await fixture.createProducer({ transactionalId: topic });
    const transaction = await producer.begin();
    await transaction.send([{ ...recordsFor(topic, 0, 1)[0]!, headers: { run: '7', rule: 'ä' } }]);
    await transaction.commit();
    const log = await fixture.createLog();
    for await (const [record] of log.readRecords({
      topic,
      partition: 0,
      fromOffset: 0n,
      untilOffset: 2n,
      isolation: 'read_committed',
      deadlineMs: 5_000,
    })) {
      expect(record!.headers).toEqual({ run: Buffer.from('7'), rule: Buffer.from('ä') });
    }
    expect.assertions(1);
  });

  it('fences the earlier owner of its id, whose open transaction is aborted', async () => {
    const topic = await fixture.createTopic();
    const earlier = await fixture.createProducer({ transactionalId: topic });
    const open = await earlier.begin();
    await open.send(recordsFor(topic, 0, 1, 'earlier'));
    const later = await fixture.createProducer({ transactionalId: topic });
    const transaction = await later.begin();
    await transaction.send(recordsFor(topic, 0, 1, 'later'));
    await transaction.commit();
    await expect(open.commit()).rejects.toMatchObject({ code: 'PRODUCER_FENCED' });
    await expect(earlier.begin()).rejects.toMatchObject({ code: 'KAFKA_AWAY' });
    expect(await committedValues(fixture.brokers, topic)).toEqual([['later 0']]);
  });

  it('is fenced at its next send as well', async () => {
    const topic = await fixture.createTopic();
    const earlier = await fixture.createProducer({ transactionalId: topic });
    await fixture.createProducer({ transactionalId: topic });
    const transaction = await earlier.begin();
    await expect(transaction.send(recordsFor(topic, 0, 1))).rejects.toMatchObject({ code: 'PRODUCER_FENCED' });
    expect(await committedValues(fixture.brokers, topic)).toEqual([[]]);
  });

  it('is fenced when its transaction was open for longer than the timeout', async () => {
    const topic = await fixture.createTopic();
    const producer = await fixture.createProducer({ transactionalId: topic, transactionTimeoutMs: 1_000 });
    const transaction = await producer.begin();
    await transaction.send(recordsFor(topic, 0, 1));
    await waitFor(
      'Kafka to abort the transaction',
      async () => {
        const [partition] = await readTopic({ brokers: fixture.brokers, topic, deadlineMs: 10_000 });
        return partition!.records[0]!.outcome === 'aborted';
      },
      { deadlineMs: 30_000, everyMs: 200 },
    );
    await expect(transaction.send(recordsFor(topic, 0, 1))).rejects.toMatchObject({ code: 'PRODUCER_FENCED' });
    expect(await committedValues(fixture.brokers, topic)).toEqual([[]]);
  });

  it('names a record that Kafka does not take, and publishes nothing of its transaction', async () => {
    const topic = await fixture.createTopic(2, { 'max.message.bytes': '20000' });
    const producer = await fixture.createProducer({ transactionalId: topic });
    const transaction = await producer.begin();
    const tooLarge = { ...recordsFor(topic, 1, 1)[0]!, value: Buffer.alloc(30_000) };
    const failure = transaction.send([...recordsFor(topic, 0, 1), tooLarge]);
    await expect(failure).rejects.toMatchObject({ code: 'RECORD_TOO_LARGE' });
    await expect(failure).rejects.toThrow(/3\d{4} bytes.*max\.message\.bytes.*/);
    await expect(transaction.commit()).rejects.toMatchObject({ code: 'KAFKA_AWAY' });
    await fixture.createProducer({ transactionalId: topic });
    expect(await committedValues(fixture.brokers, topic)).toEqual([[], []]);
  });

  it('gives up on a topic that does not exist, in time', async () => {
    const producer = await fixture.createProducer({
      transactionalId: `${fixture.id}-nowhere`,
      requestTimeoutMs: 1_000,
    });
    const transaction = await producer.begin();
    const startMs = performance.now();
    await expect(transaction.send(recordsFor(`${fixture.id}.nowhere`, 0, 1))).rejects.toMatchObject({
      code: 'KAFKA_AWAY',
    });
    expect(performance.now() - startMs).toBeLessThan(2_000);
  });

  it('refuses to be used twice at the same time', async () => {
    const topic = await fixture.createTopic();
    const producer = await fixture.createProducer({ transactionalId: topic });
    const transaction = await producer.begin();
    await expect(producer.begin()).rejects.toThrow(/one at a time/);
    const first = transaction.send(recordsFor(topic, 0, 1, 'first'));
    await expect(transaction.send(recordsFor(topic, 0, 1, 'second'))).rejects.toThrow(/one at a time/);
    await first;
    await transaction.commit();
    await expect(transaction.commit()).rejects.toThrow(/one at a time/);
    expect(await committedValues(fixture.brokers, topic)).toEqual([['first 0']]);
  });

  it('is away when no broker listens', async () => {
    const brokers = [`127.0.0.1:${await freePort()}`];
    const options = {
      kafka: plainServers(brokers),
      clientId: 'nobody',
      transactionalId: 'nobody',
      transactionTimeoutMs: 5_000,
      logger: silentLogger,
    };
    const startMs = performance.now();
    await expect(createTransactionalProducer({ ...options, requestTimeoutMs: 1_000 })).rejects.toMatchObject({
      code: 'KAFKA_AWAY',
    });
    expect(performance.now() - startMs).toBeLessThan(2_000);
  });
});

describe('the transactional producer on a broken network', () => {
  let directory: string;
  let proxied: ProxiedKafka;
  let fixture: KafkaFixture;

  beforeAll(async () => {
    directory = createTestDirectory('producer-network');
    proxied = await startProxiedKafka({ directory });
    fixture = createKafkaFixture('network', proxied.kafka.bootstrap, proxied.kafka.directBootstrap);
  });
  afterAll(async () => {
    await fixture?.cleanUp();
    await proxied?.close();
    removeTestDirectory(directory);
  });
  // A test that fails in the middle must not break the network of the next.
  afterEach(() => {
    proxy().onClientData(undefined);
    proxy().onServerData(undefined);
    proxy().resume();
    proxy().cut();
  });
  const proxy = () => proxied.proxies[0]!;
  const direct = () => proxied.kafka.directBootstrap.split(',');

  it('does not know whether a commit happened whose answer is lost: here it did', async () => {
    const topic = await fixture.createTopic();
    const producer = await fixture.createProducer({ transactionalId: topic });
    const transaction = await producer.begin();
    await transaction.send(recordsFor(topic, 0, 1));
    const lost = loseAnswer(proxy(), kafkaApi.endTxn);
    await expect(transaction.commit()).rejects.toMatchObject({ code: 'PUBLISH_OUTCOME_UNKNOWN' });
    lost.stop();
    expect(lost.seen()).toBe(1);
    await expect(producer.begin()).rejects.toMatchObject({ code: 'KAFKA_AWAY' });
    await waitFor('the commit', async () => (await committedValues(direct(), topic))[0]!.length === 1);
    const next = await fixture.createProducer({ transactionalId: topic });
    const transactionAfter = await next.begin();
    expect((await transactionAfter.send(recordsFor(topic, 0, 1)))[0]!.baseOffset).toBe(2n);
    await transactionAfter.commit();
  });

  it('does not know whether a commit happened that never arrived: here it did not', async () => {
    const topic = await fixture.createTopic();
    const producer = await fixture.createProducer({ transactionalId: topic });
    const transaction = await producer.begin();
    await transaction.send(recordsFor(topic, 0, 1));
    const cut = cutRequest(proxy(), kafkaApi.endTxn);
    await expect(transaction.commit()).rejects.toMatchObject({ code: 'PUBLISH_OUTCOME_UNKNOWN' });
    expect(cut.seen()).toBe(1);
    cut.stop();
    await fixture.createProducer({ transactionalId: topic });
    const [partition] = await readTopic({ brokers: direct(), topic, deadlineMs: 10_000 });
    expect(partition!.records.map(({ outcome }) => outcome)).toEqual(['aborted']);
  });

  it('stores the records of a send once when the answer to its first attempt is lost', async () => {
    const topic = await fixture.createTopic(2);
    const producer = await fixture.createProducer({ transactionalId: topic });
    const transaction = await producer.begin();
    const lost = loseAnswer(proxy(), kafkaApi.produce);
    const [sentTo] = await Promise.all([
      transaction.send([...recordsFor(topic, 0, 3), ...recordsFor(topic, 1, 1)]),
      waitFor('an answer to be lost', () => lost.lost() > 0).finally(lost.stop),
    ]);
    expect(sentTo.map(({ baseOffset }) => baseOffset)).toEqual([0n, 0n]);
    await transaction.commit();
    expect(await committedValues(direct(), topic)).toEqual([['value 0', 'value 1', 'value 2'], ['value 0']]);
  });

  it('gives up on a silent broker in time, cuts its connections and sends nothing later', async () => {
    const topic = await fixture.createTopic();
    const producer = await fixture.createProducer({ transactionalId: topic, requestTimeoutMs: 1_000 });
    const transaction = await producer.begin();
    await transaction.send(recordsFor(topic, 0, 1, 'first'));
    proxy().pause();
    const startMs = performance.now();
    await expect(transaction.send(recordsFor(topic, 0, 1, 'late'))).rejects.toMatchObject({ code: 'KAFKA_AWAY' });
    await producer.close();
    expect(performance.now() - startMs).toBeLessThan(2_000);
    proxy().cut();
    proxy().resume();
    const watched = cutRequest(proxy(), kafkaApi.produce);
    await fixture.createProducer({ transactionalId: topic });
    expect(watched.seen()).toBe(0);
    watched.stop();
    const [partition] = await readTopic({ brokers: direct(), topic, deadlineMs: 10_000 });
    expect(partition!.records.map(({ outcome }) => outcome)).toEqual(['aborted']);
  });

  it('leaves no connection behind when it is closed in the middle of a send', async () => {
    const topic = await fixture.createTopic();
    const others = new Set(proxy().connections.map(({ id }) => id));
    const producer = await fixture.createProducer({ transactionalId: topic });
    const transaction = await producer.begin();
    await transaction.send(recordsFor(topic, 0, 1));
    const ours = () => proxy().connections.filter(({ id }) => !others.has(id));
    expect(ours()).not.toHaveLength(0);
    const held = loseAnswer(proxy(), kafkaApi.produce, 'hold');
    const failure = expect(transaction.send(recordsFor(topic, 0, 1))).rejects.toMatchObject({ code: 'KAFKA_AWAY' });
    await waitFor('the send', () => held.seen() === 1);
    await producer.close();
    await failure;
    held.stop();
    proxy().release();
    await waitFor('its connections to end', () => ours().length === 0);
  });
});
