// Every codec that a real broker recompresses topics with, read through both ways to our decoder; and batches that expand
// without end, which other programs may write: a named error each, and no memory.

import { afterAll, afterEach, beforeAll, describe, expect, inject, it } from 'vitest';
import { limitExpandedBatches } from '#kafka/protocol/record-batch.ts';
import type { FetchedBatch } from '#kafka/reading/fetched-batch.ts';
import { createGroupConsumer } from '#kafka/reading/group-consumer.ts';
import type { KafkaLog } from '#kafka/reading/log.ts';
import { plainServers } from '#kafka/servers.ts';
import { silentLogger } from '../../support/kafka/admin.ts';
import { createKafkaFixture, type KafkaFixture, readAll, recordsFor } from '../../support/kafka/fixture.ts';
import { waitFor } from '../../support/wait.ts';

const MEGABYTE = 1024 * 1024;
const codecs = ['gzip', 'snappy', 'lz4', 'zstd'] as const;
const texts = (records: readonly { value: Buffer | null }[]) => records.map(({ value }) => value?.toString());

describe('a topic that the broker compresses', () => {
  let fixture: KafkaFixture;
  let log: KafkaLog;

  beforeAll(async () => {
    fixture = createKafkaFixture('codec', inject('servers').brokers);
    log = await fixture.createLog();
  });
  afterEach(() => limitExpandedBatches(64 * MEGABYTE));
  afterAll(() => fixture.cleanUp());

  /** Reads a topic from its start through a consumer group until `isEnough`, in a further session when one fails. */
  const consume = (topic: string, isEnough: (batches: readonly FetchedBatch[]) => boolean) =>
    waitFor(`the records of ${topic}`, () => consumeOnce(topic, isEnough), { deadlineMs: 60_000 });

  const consumeOnce = async (topic: string, isEnough: (batches: readonly FetchedBatch[]) => boolean) => {
    const batches: FetchedBatch[] = [];
    const { promise, resolve, reject } = Promise.withResolvers<readonly FetchedBatch[]>();
    const consumer = createGroupConsumer({
      kafka: fixture.kafka,
      servers: plainServers(fixture.brokers),
      clientId: fixture.id,
      groupId: `${topic}.group`,
      topics: [topic],
      sessionTimeoutMs: 6_000,
      heartbeatIntervalMs: 1_000,
      fetchMaxWaitMs: 100,
      fetchMaxBytes: 2 * MEGABYTE,
      fetchMaxBytesPerPartition: MEGABYTE,
      logger: silentLogger,
      handlers: {
        onAssigned: (partitions) => consumer.start(partitions.map((partition) => ({ ...partition, offset: 0n }))),
        onRebalancing: () => undefined,
        onBatch: async (batch) => {
          batches.push(batch);
          if (isEnough(batches)) resolve([...batches]);
        },
        onOutOfRange: () => reject(new Error('an offset is out of range')),
        onFailed: reject,
      },
    });
    try {
      return await promise;
    } finally {
      await consumer.close();
    }
  };

  it.each(codecs)('with %s gives every record, whichever way it is read', async (codec) => {
    const topic = await fixture.createTopic(1, { 'compression.type': codec });
    const producer = await fixture.createProducer({ transactionalId: topic });
    // Repetitive and random values, so that blocks are compressed and stored; several blocks a batch; one record a batch.
    const noise = Buffer.from(Array.from({ length: 200_000 }, (_, index) => (index * index * 31) >>> 7));
    const sent = [
      recordsFor(topic, 0, 5_000, 'some text that repeats itself'),
      [{ topic, partition: 0, key: 'k', value: noise }],
      recordsFor(topic, 0, 1, 'alone'),
    ];
    for (const records of sent) {
      const transaction = await producer.begin();
      await transaction.send(records);
      await transaction.commit();
    }
    const aborted = await producer.begin();
    await aborted.send(recordsFor(topic, 0, 10, 'aborted'));
    await aborted.abort();
    await producer.close();
    const values = sent.flat().map(({ value }) => value.toString());
    expect(texts(await readAll(log, { topic }))).toEqual(values);
    const batches = await consume(topic, (all) => all.flatMap(({ records }) => records).length >= values.length);
    expect(texts(batches.flatMap(({ records }) => records))).toEqual(values);
  });

  it('gives what our producer has compressed', async () => {
    const topic = await fixture.createTopic();
    const producer = await fixture.createProducer({ transactionalId: topic, compression: 'gzip' });
    const transaction = await producer.begin();
    const records = recordsFor(topic, 0, 3_000, 'some text that repeats itself');
    await transaction.send(records);
    await transaction.commit();
    expect(texts(await readAll(log, { topic }))).toEqual(records.map(({ value }) => value.toString()));
  });

  /** Records that are small when compressed, all in one batch, and take `bytes` once they are expanded. */
  const sendBomb = async (topic: string, bytes: number, records = 1) => {
    const bounds = { partitionBytes: 1_000 * MEGABYTE, sendBytes: 1_000 * MEGABYTE };
    const producer = await fixture.createProducer({ transactionalId: `${topic}-bomb`, compression: 'gzip', bounds });
    const transaction = await producer.begin();
    const record = { topic, partition: 0, key: '', value: Buffer.alloc(bytes / records) };
    await transaction.send(Array.from({ length: records }, () => record));
    await transaction.commit();
    await producer.close();
  };

  it.each([
    { what: 'one record of 200 MB', bytes: 200 * MEGABYTE, records: 1, compressionType: 'producer' },
    { what: '200,000 empty records', bytes: 0, records: 200_000, compressionType: 'gzip' },
    {
      what: 'one record of 100 MB, recompressed by the broker',
      bytes: 100 * MEGABYTE,
      records: 1,
      compressionType: 'zstd',
    },
  ])('halts by name at $what, after the good records before it', async ({ bytes, records, compressionType }) => {
    const topic = await fixture.createTopic(1, { 'compression.type': compressionType });
    const producer = await fixture.createProducer({ transactionalId: topic });
    const transaction = await producer.begin();
    await transaction.send(recordsFor(topic, 0, 3));
    await transaction.commit();
    await producer.close();
    await sendBomb(topic, bytes, records);
    const before = process.memoryUsage();
    await expect(readAll(log, { topic })).rejects.toMatchObject({
      code: 'BATCH_TOO_LARGE',
      details: { topic, partition: '0', offset: '4', limitBytes: String(64 * MEGABYTE) },
    });
    const batches = await consume(topic, (all) => all.some(({ unreadable }) => unreadable !== undefined));
    expect(texts(batches.flatMap((batch) => batch.records)).slice(0, 3)).toEqual(['value 0', 'value 1', 'value 2']);
    expect(batches.at(-1)).toMatchObject({ unreadable: { code: 'BATCH_TOO_LARGE' } });
    expect(process.memoryUsage().rss - before.rss).toBeLessThan(400 * MEGABYTE);
  });

  it('takes a batch that is larger once the limit is raised', async () => {
    const topic = await fixture.createTopic();
    await sendBomb(topic, 80 * MEGABYTE);
    await expect(readAll(log, { topic })).rejects.toMatchObject({ code: 'BATCH_TOO_LARGE' });
    limitExpandedBatches(100 * MEGABYTE);
    expect((await readAll(log, { topic })).map(({ value }) => value?.length)).toEqual([80 * MEGABYTE]);
  });

  it('takes fetches whose batches are good one by one in several steps', async () => {
    const topic = await fixture.createTopic();
    for (let index = 0; index < 4; index += 1) await sendBomb(topic, 40 * MEGABYTE);
    const steps: number[] = [];
    const read = { topic, partition: 0, fromOffset: 0n, untilOffset: 8n, deadlineMs: 10_000 } as const;
    for await (const records of log.readRecords({ ...read, isolation: 'read_committed' })) steps.push(records.length);
    expect(steps).toEqual([2, 2]);
    const batches = await consume(topic, (all) => all.flatMap(({ records }) => records).length >= 4);
    expect(batches.map(({ records }) => records.length)).toEqual([2, 2]);
  });
});
