// Reading partitions by offset against a real broker: what lies between the records (markers, aborted transactions,
// compacted gaps, open transactions), and what a broken network does to a read.

import type { Transaction } from 'kafkajs';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { createKafkaLog, type KafkaLog } from '#kafka/reading/log.ts';
import { plainServers } from '#kafka/servers.ts';
import { freePort } from '../../../dev/process/ports.ts';
import { silentLogger, withKafkaAdmin } from '../../support/kafka/admin.ts';
import {
  createKafkaFixture,
  cutRequest,
  type KafkaFixture,
  loseAnswer,
  readAll,
  recordsFor,
} from '../../support/kafka/fixture.ts';
import { kafkaApi } from '../../support/kafka/frames.ts';
import { type ProxiedKafka, startProxiedKafka } from '../../support/kafka/proxied-kafka.ts';
import { createTestDirectory, removeTestDirectory } from '../../support/process/test-directory.ts';
import { waitFor } from '../../support/wait.ts';

const texts = (records: readonly { value: Buffer | null }[]) => records.map(({ value }) => value?.toString());

describe('reading a partition', () => {
  let fixture: KafkaFixture;
  let log: KafkaLog;

  beforeAll(async () => {
    fixture = createKafkaFixture('log', inject('servers').brokers);
    log = await fixture.createLog();
  });
  afterAll(() => fixture.cleanUp());

  const publish = async (topic: string, count: number, label: string, end: 'commit' | 'abort' = 'commit') => {
    const producer = await fixture.createProducer({ transactionalId: `${topic}-${label}` });
    const transaction = await producer.begin();
    await transaction.send(recordsFor(topic, 0, count, label));
    await transaction[end]();
    await producer.close();
    // Kafka answers before the marker is written.
    await waitFor('the marker', async () => {
      const { lastStable, highWatermark } = (await log.readOffsets(topic)).get(0)!;
      return lastStable === highWatermark;
    });
  };

  it('tells the offsets of every partition, those of an empty one too', async () => {
    const topic = await fixture.createTopic(3);
    await publish(topic, 2, 'a');
    const empty = { earliest: 0n, lastStable: 0n, highWatermark: 0n };
    expect(await log.readOffsets(topic)).toEqual(
      new Map([
        [0, { earliest: 0n, lastStable: 3n, highWatermark: 3n }],
        [1, empty],
        [2, empty],
      ]),
    );
  });

  it('tells a topic from one that is created again under its name', async () => {
    const topic = await fixture.createTopic();
    const first = await log.readTopicId(topic);
    expect(first).toMatch(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
    expect(await log.readTopicId(topic)).toBe(first);
    await withKafkaAdmin(fixture.brokers.join(), async (admin) => {
      await admin.deleteTopics({ topics: [topic] });
      await waitFor('the topic to be back', () => admin.createTopics({ topics: [{ topic, numPartitions: 1 }] }));
    });
    await waitFor('another id', async () => (await log.readTopicId(topic)) !== first);
    await expect(log.readTopicId(`${topic}.missing`, 5_000)).rejects.toMatchObject({ code: 'TOPIC_MISSING' });
  });

  it('ends at the high watermark although the last record there is a marker', async () => {
    const topic = await fixture.createTopic();
    await publish(topic, 2, 'a');
    const records = await readAll(log, { topic });
    expect(records.map(({ offset }) => offset)).toEqual([0n, 1n]);
    expect(records[0]!.key?.toString()).toBe('key-0');
  });

  it('ends at once where there is nothing to read', async () => {
    const topic = await fixture.createTopic();
    expect(await readAll(log, { topic })).toEqual([]);
    expect(await readAll(log, { topic, fromOffset: 0n, untilOffset: 0n })).toEqual([]);
  });

  it('gives exactly the records between two offsets inside of batches', async () => {
    const topic = await fixture.createTopic();
    await publish(topic, 10, 'a');
    await publish(topic, 10, 'b');
    const records = await readAll(log, { topic, fromOffset: 4n, untilOffset: 13n });
    expect(records.map(({ offset }) => offset)).toEqual([4n, 5n, 6n, 7n, 8n, 9n, 11n, 12n]);
  });

  it('goes past a tail of aborted records, and shows them to read_uncommitted', async () => {
    const topic = await fixture.createTopic();
    await publish(topic, 1, 'committed');
    await publish(topic, 2, 'aborted', 'abort');
    expect(texts(await readAll(log, { topic }))).toEqual(['committed 0']);
    expect(texts(await readAll(log, { topic, isolation: 'read_uncommitted' }))).toEqual([
      'committed 0',
      'aborted 0',
      'aborted 1',
    ]);
  });

  it('leaves out aborted records of overlapping transactions and with keys like markers, where kafkajs does not', async () => {
    const topic = await fixture.createTopic();
    const producers = ['one', 'two', 'three'].map((name) =>
      fixture.kafka.producer({
        transactionalId: `${topic}-${name}`,
        maxInFlightRequests: 1,
        allowAutoTopicCreation: false,
      }),
    );
    await Promise.all(producers.map((producer) => producer.connect()));
    const [one, two, three] = (await Promise.all(producers.map((producer) => producer.transaction()))) as [
      Transaction,
      Transaction,
      Transaction,
    ];
    const send = (transaction: Transaction, value: string, key = 'k') =>
      transaction.send({ topic, messages: [{ key, value, partition: 0 }] });
    await send(one, 'aborted', '\0\0\0\0');
    await send(two, 'aborted');
    await send(three, 'committed');
    await send(one, 'aborted');
    await one.abort();
    await send(two, 'aborted');
    await send(three, 'committed', '\0\0\0\0');
    await two.abort();
    await three.commit();
    await Promise.all(producers.map((producer) => producer.disconnect()));
    await waitFor('the markers', async () => {
      const offsets = (await log.readOffsets(topic)).get(0)!;
      return offsets.highWatermark === 9n && offsets.lastStable === 9n;
    });
    expect(texts(await readAll(log, { topic }))).toEqual(['committed', 'committed']);
    // From inside of both aborted transactions, too.
    expect(texts(await readAll(log, { topic, fromOffset: 3n }))).toEqual(['committed']);
  });

  it('reads what is larger than a fetch, in order', async () => {
    const topic = await fixture.createTopic();
    const producer = await fixture.createProducer({ transactionalId: topic });
    for (let round = 0; round < 3; round += 1) {
      const transaction = await producer.begin();
      await transaction.send(
        recordsFor(topic, 0, 40).map((record, index) => ({
          ...record,
          value: Buffer.alloc(90_000, round * 40 + index),
        })),
      );
      await transaction.commit();
    }
    const records = await readAll(log, { topic });
    expect(records.map(({ value }) => value![0])).toEqual(Array.from({ length: 120 }, (_, index) => index));
  });

  it('waits for an open transaction, and reads on when it ends', async () => {
    const topic = await fixture.createTopic();
    const producer = await fixture.createProducer({ transactionalId: topic });
    const transaction = await producer.begin();
    await transaction.send(recordsFor(topic, 0, 1));
    expect((await log.readOffsets(topic)).get(0)).toEqual({ earliest: 0n, lastStable: 0n, highWatermark: 1n });
    let found: string | undefined;
    const reading = readAll(log, { topic }).then((records) => (found = texts(records).join()));
    expect(texts(await readAll(log, { topic, isolation: 'read_uncommitted' }))).toEqual(['value 0']);
    expect(found).toBeUndefined();
    await transaction.commit();
    await reading;
    expect(found).toBe('value 0');
  });

  it('gives up at its deadline on a transaction that stays open', async () => {
    const topic = await fixture.createTopic();
    const producer = await fixture.createProducer({ transactionalId: topic });
    await (await producer.begin()).send(recordsFor(topic, 0, 1));
    const startMs = performance.now();
    await expect(readAll(log, { topic, deadlineMs: 700 })).rejects.toMatchObject({
      code: 'LOG_READ_DEADLINE',
      position: 0n,
    });
    expect(performance.now() - startMs).toBeLessThan(2_000);
  });

  it('names an offset that retention has taken, and one beyond the end, and never jumps', async () => {
    const topic = await fixture.createTopic();
    await publish(topic, 10, 'a');
    await withKafkaAdmin(inject('servers').brokers, async (admin) => {
      // deleteTopicRecords looks for the leader only in what is known already.
      await admin.fetchTopicOffsets(topic);
      await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '6' }] });
    });
    const at = { topic, partition: 0, earliest: 6n, latest: 11n };
    await expect(readAll(log, { topic, fromOffset: 2n })).rejects.toMatchObject({
      ...at,
      code: 'OFFSET_OUT_OF_RANGE',
      requested: 2n,
    });
    await expect(readAll(log, { topic, fromOffset: 50n, untilOffset: 60n })).rejects.toMatchObject({
      ...at,
      requested: 50n,
    });
    expect(texts(await readAll(log, { topic }))).toHaveLength(4);
  });

  it('names a topic that does not exist, and one that is deleted, while others stay readable', async () => {
    const [topic, other] = [await fixture.createTopic(), await fixture.createTopic()];
    await publish(other, 1, 'a');
    await expect(log.readOffsets(`${topic}-nowhere`)).rejects.toMatchObject({
      code: 'TOPIC_MISSING',
      topic: `${topic}-nowhere`,
    });
    await log.readOffsets(topic);
    await withKafkaAdmin(inject('servers').brokers, (admin) => admin.deleteTopics({ topics: [topic] }));
    const deleted = readAll(log, { topic, fromOffset: 0n, untilOffset: 1n });
    await expect(deleted).rejects.toMatchObject({ code: 'TOPIC_MISSING' });
    expect(texts(await readAll(log, { topic: other }))).toEqual(['a 0']);
  });

  it('is away when no broker listens', async () => {
    const brokers = [`127.0.0.1:${await freePort()}`];
    await expect(
      createKafkaLog({ kafka: plainServers(brokers), clientId: 'nobody', logger: silentLogger }),
    ).rejects.toMatchObject({
      code: 'KAFKA_AWAY',
    });
  });
});

describe('reading on a broken network', () => {
  let directory: string;
  let proxied: ProxiedKafka;
  let fixture: KafkaFixture;
  let topic: string;

  beforeAll(async () => {
    directory = createTestDirectory('log-network');
    proxied = await startProxiedKafka({ directory, settings: { 'log.cleaner.backoff.ms': '100' } });
    fixture = createKafkaFixture('log-network', proxied.kafka.bootstrap, proxied.kafka.directBootstrap);
    topic = await fixture.createTopic();
    const producer = await fixture.createProducer();
    for (const label of ['a', 'b']) {
      const transaction = await producer.begin();
      await transaction.send(recordsFor(topic, 0, 3, label));
      await transaction.commit();
    }
    await producer.close();
  });
  afterAll(async () => {
    await fixture?.cleanUp();
    await proxied?.close();
    removeTestDirectory(directory);
  });
  const proxy = () => proxied.proxies[0]!;
  const everything = ['a 0', 'a 1', 'a 2', 'b 0', 'b 1', 'b 2'];

  it('goes on when a connection is cut before a request and before an answer', async () => {
    const log = await fixture.createLog();
    for (const lose of [cutRequest, loseAnswer]) {
      const cut = lose(proxy(), kafkaApi.fetch);
      const reading = readAll(log, { topic });
      await waitFor('two attempts', () => cut.seen() >= 2);
      cut.stop();
      expect(texts(await reading)).toEqual(everything);
    }
  });

  it('connects anew when the answers on a connection stay away', async () => {
    const log = await fixture.createLog({ requestTimeoutMs: 400 });
    const held = loseAnswer(proxy(), kafkaApi.fetch, 'hold');
    const reading = readAll(log, { topic });
    await waitFor('a request', () => held.seen() === 1);
    // From now on everything passes, but for what that connection holds back.
    held.stop();
    expect(texts(await reading)).toEqual(everything);
  });

  it('goes on when the broker comes back', async () => {
    const log = await fixture.createLog();
    const { highWatermark } = (await log.readOffsets(topic)).get(0)!;
    proxy().refuse();
    proxy().cut();
    const reading = readAll(log, { topic, fromOffset: 0n, untilOffset: highWatermark });
    const offsets = log.readOffsets(topic);
    await proxy().accept();
    expect(texts(await reading)).toEqual(everything);
    expect((await offsets).get(0)?.highWatermark).toBe(highWatermark);
  });

  it('gives up in time when the broker is silent, though requests could wait longer', async () => {
    const log = await fixture.createLog();
    await log.readOffsets(topic);
    proxy().pause();
    const startMs = performance.now();
    await expect(log.readOffsets(topic, 500)).rejects.toMatchObject({ code: 'KAFKA_AWAY' });
    const range = { topic, partition: 0, fromOffset: 0n, untilOffset: 3n } as const;
    const read = log.readRecords({ ...range, isolation: 'read_committed', deadlineMs: 500 });
    await expect(read[Symbol.asyncIterator]().next()).rejects.toMatchObject({
      code: 'LOG_READ_DEADLINE',
      position: 0n,
    });
    await log.close();
    expect(performance.now() - startMs).toBeLessThan(3_000);
    proxy().resume();
  });

  it('gets past gaps that compaction left, to the end', async () => {
    const compacted = await fixture.createTopic(1, {
      'cleanup.policy': 'compact',
      'segment.ms': '100',
      'min.cleanable.dirty.ratio': '0.01',
      'max.compaction.lag.ms': '100',
      'delete.retention.ms': '0',
    });
    const producer = await fixture.createProducer({ transactionalId: compacted });
    const log = await fixture.createLog();
    const publish = async (label: string) => {
      const transaction = await producer.begin();
      await transaction.send(recordsFor(compacted, 0, 1, label));
      await transaction.commit();
    };
    for (let round = 0; round < 20; round += 1) await publish(`round ${round}`);
    // The open segment is never compacted; each further record closes one.
    let rounds = 20;
    await waitFor(
      'compaction',
      async () => {
        await publish(`round ${rounds}`);
        rounds += 1;
        return (await readAll(log, { topic: compacted })).length < rounds / 2;
      },
      { deadlineMs: 60_000, everyMs: 200 },
    );
    const { earliest, highWatermark } = (await log.readOffsets(compacted)).get(0)!;
    expect(highWatermark - earliest).toBe(BigInt(2 * rounds));
    for (let fromOffset = earliest; fromOffset < highWatermark; fromOffset += 1n) {
      const records = await readAll(log, { topic: compacted, fromOffset });
      if (records.length > 0) expect(texts(records).at(-1)).toBe(`round ${rounds - 1} 0`);
      expect(records.every(({ offset }) => offset >= fromOffset)).toBe(true);
    }
  });
});
