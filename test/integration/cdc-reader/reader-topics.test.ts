// The reader's topics and its checkpoint topic against a real broker.

import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { pino } from 'pino';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest';
import { createCheckpointTopic } from '#kafka/checkpoint-topic.ts';
import { createKafkaClient } from '#kafka/client.ts';
import { ensureTopics, type TopicSpec } from '#kafka/create-topics.ts';
import type { KafkaLog } from '#kafka/reading/log.ts';
import { plainServers } from '#kafka/servers.ts';
import { toLsn } from '#schemas/lsn.ts';
import { readCdcReaderConfig } from '../../../cdc-reader/config.ts';
import { type KafkaConnection, openKafka } from '../../../cdc-reader/startup/kafka-connection.ts';
import { freePort } from '../../../dev/process/ports.ts';
import { silentLogger, withKafkaAdmin } from '../../support/kafka/admin.ts';
import { createKafkaFixture, type KafkaFixture, readAll, recordsFor } from '../../support/kafka/fixture.ts';

let fixture: KafkaFixture;

beforeAll(() => {
  fixture = createKafkaFixture('topics', inject('servers').brokers);
});
afterAll(() => fixture.cleanUp());

describe("the reader's topics", () => {
  const live = (name: string): TopicSpec => ({ name, partitions: 4, retentionMs: -1, cleanupPolicy: 'delete' });
  const checkpoints = (name: string): TopicSpec => ({ name, partitions: 1, retentionMs: -1, cleanupPolicy: 'compact' });
  const ensure = (topics: TopicSpec[], logger = silentLogger) => ensureTopics({ kafka: fixture.kafka, topics, logger });

  it('are created where they are missing, and only then', async () => {
    const names = [`${fixture.id}.orders`, `${fixture.id}.checkpoints`] as const;
    const lines: string[] = [];
    const logger = pino({ level: 'info' }, { write: (line) => lines.push(JSON.parse(line).event) });
    const topics = [live(names[0]), checkpoints(names[1])];
    const described = await ensure(topics, logger);
    const common = { exists: true, replicationFactor: 1, minInsyncReplicas: 1, uncleanElections: false };
    expect(described.get(names[0])).toEqual({
      name: names[0],
      partitions: 4,
      cleanupPolicy: 'delete',
      ...common,
    });
    expect(described.get(names[1])).toMatchObject({ partitions: 1, cleanupPolicy: 'compact', ...common });
    expect(lines).toEqual(['kafka.topic-created', 'kafka.topic-created']);
    expect(await ensure(topics, logger)).toEqual(described);
    expect(lines).toHaveLength(2);
  });

  it('can be ensured by two readers at once', async () => {
    const name = `${fixture.id}.race`;
    const results = await Promise.all([ensure([live(name)]), ensure([live(name)])]);
    expect(results.map((described) => described.get(name)?.partitions)).toEqual([4, 4]);
  });

  it('are refused when compaction would eat events, or retention the checkpoint', async () => {
    const compacted = await fixture.createTopic(4, { 'cleanup.policy': 'compact' });
    await expect(ensure([live(compacted)])).rejects.toMatchObject({
      code: 'TOPIC_MISCONFIGURED',
      details: { topic: compacted },
    });
    const plain = await fixture.createTopic(1);
    await expect(ensure([checkpoints(plain)])).rejects.toThrow(
      /cleanup\.policy=delete.*--add-config cleanup\.policy=compact/,
    );
    const wide = await fixture.createTopic(2, { 'cleanup.policy': 'compact' });
    await expect(ensure([checkpoints(wide)])).rejects.toThrow(/2 partitions/);
  });

  it('can not be ensured when Kafka is away, or has too few brokers', async () => {
    const kafka = createKafkaClient({
      kafka: plainServers([`127.0.0.1:${await freePort()}`]),
      clientId: 'nobody',
      logger: silentLogger,
      retry: { retries: 1 },
    });
    await expect(ensureTopics({ kafka, topics: [live('t')], logger: silentLogger })).rejects.toMatchObject({
      code: 'KAFKA_AWAY',
    });
    const wide = { ...live(`${fixture.id}.wide`), replicationFactor: 3 };
    await expect(ensure([wide])).rejects.toMatchObject({ code: 'KAFKA_AWAY' });
    await expect(ensure([wide])).rejects.toThrow(/wide can't be created/);
  });
});

describe('a missing topic', () => {
  const readCurrentWal = async () => ({ flushLsn: toLsn(0x2an), timeline: 1, inRecovery: false });
  const published = { throughLsn: toLsn(0x29n), source: { readCurrentWal } };
  let names: { ORDERS_TOPIC: string; CHECKPOINT_TOPIC: string; REPLAY_TOPIC: string };
  let connection: KafkaConnection;

  beforeEach(async () => {
    const label = `${fixture.id}.missing-${randomBytes(4).toString('hex')}`;
    names = { ORDERS_TOPIC: label, CHECKPOINT_TOPIC: `${label}.checkpoints`, REPLAY_TOPIC: `${label}.replay` };
    const env = { ORDER_DATABASE_URL: 'postgres://nobody@127.0.0.1/shop', KAFKA_BROKERS: fixture.brokers.join(',') };
    connection = await openKafka(readCdcReaderConfig({ ...env, ...names }), silentLogger);
  });
  afterEach(() => connection.close());

  const timed = async <T>(work: Promise<T>) => {
    const startMs = performance.now();
    const [result] = await Promise.allSettled([work]);
    return { result, tookMs: performance.now() - startMs };
  };
  const createLater = async (topic: string, configEntries: { name: string; value: string }[] = []) => {
    await delay(500);
    await withKafkaAdmin(fixture.brokers.join(','), (admin) =>
      admin.createTopics({ topics: [{ topic, numPartitions: 1, configEntries }] }),
    );
  };

  it('that is expected is a halt once every broker has had the time to know of it', async () => {
    const { result, tookMs } = await timed(connection.ensureTopics(published));
    expect(result).toMatchObject({ reason: { code: 'LIVE_TOPIC_MISSING', message: expect.stringContaining('0/2A') } });
    expect(tookMs).toBeGreaterThan(1_500);
    const looked = await timed(connection.hasCheckpointTopic(true));
    expect(looked).toMatchObject({ result: { value: false } });
    expect(looked.tookMs).toBeGreaterThan(1_500);
  });

  it('that a broker comes to know of in time is none', async () => {
    const found = connection.hasCheckpointTopic(true);
    const counted = connection.countLiveOffsets(true);
    const ensured = connection.ensureTopics(published);
    await Promise.all([
      createLater(names.CHECKPOINT_TOPIC, [{ name: 'cleanup.policy', value: 'compact' }]),
      createLater(names.ORDERS_TOPIC),
      expect(found).resolves.toBe(true),
      expect(counted).resolves.toBe(0n),
      expect(ensured).resolves.toBeUndefined(),
    ]);
  });

  it('that is not expected, on a first start, is not waited for', async () => {
    const { result, tookMs } = await timed(connection.hasCheckpointTopic(false));
    expect(result).toMatchObject({ value: false });
    expect(await connection.countLiveOffsets(false)).toBe(0n);
    expect(tookMs).toBeLessThan(1_000);
  });
});

describe('the checkpoint topic', () => {
  let log: KafkaLog;

  beforeAll(async () => {
    log = await fixture.createLog();
  });

  const create = async () => {
    const topic = await fixture.createTopic(1, { 'cleanup.policy': 'compact' });
    const checkpoint = createCheckpointTopic({ log, topic, slotName: 'slot' });
    const producer = await fixture.createProducer({ transactionalId: topic });
    const write = async (text: string, end: 'commit' | 'abort' = 'commit') => {
      const transaction = await producer.begin();
      await transaction.send([checkpoint.record(Buffer.from(text))]);
      await transaction[end]();
    };
    return { topic, checkpoint, producer, write };
  };
  const nothing = { record: null, offset: null };

  it('has no checkpoint before the first', async () => {
    const { checkpoint } = await create();
    expect(await checkpoint.read(5_000)).toEqual(nothing);
  });

  it('gives the last committed record of the slot, whatever was aborted after it', async () => {
    const { checkpoint, write } = await create();
    await write('first');
    await write('second');
    await write('aborted', 'abort');
    expect(await checkpoint.read(5_000)).toEqual({ record: Buffer.from('second'), offset: 2n });
  });

  it("leaves other slots' records alone", async () => {
    const { checkpoint, topic, producer, write } = await create();
    const other = createCheckpointTopic({ log, topic, slotName: 'slot-2' });
    await write('mine');
    const transaction = await producer.begin();
    await transaction.send([other.record(Buffer.from('theirs'))]);
    await transaction.commit();
    expect((await checkpoint.read(5_000)).record?.toString()).toBe('mine');
    expect((await other.read(5_000)).record?.toString()).toBe('theirs');
  });

  it('finds a record far behind the end, and that there is none', async () => {
    const { checkpoint, topic, producer, write } = await create();
    await write('far');
    for (let round = 0; round < 3; round += 1) {
      const transaction = await producer.begin();
      await transaction.send(recordsFor(topic, 0, 1_500));
      await transaction.commit();
    }
    expect(await checkpoint.read(5_000)).toEqual({ record: Buffer.from('far'), offset: 0n });
    const missing = createCheckpointTopic({ log, topic, slotName: 'nobody' });
    expect(await missing.read(5_000)).toEqual(nothing);
  });

  it('takes a tombstone for no checkpoint', async () => {
    const { checkpoint, topic, write } = await create();
    await write('first');
    const producer = fixture.kafka.producer({ allowAutoTopicCreation: false });
    await producer.connect();
    await producer.send({ topic, messages: [{ key: 'slot', value: null, partition: 0 }] });
    await producer.disconnect();
    expect(await checkpoint.read(5_000)).toEqual({ record: null, offset: 2n });
  });

  it('waits for a commit that was under way when the read began', async () => {
    const { checkpoint, producer, write } = await create();
    await write('first');
    const transaction = await producer.begin();
    await transaction.send([checkpoint.record(Buffer.from('second'))]);
    const reading = checkpoint.read(10_000);
    await transaction.commit();
    expect((await reading).record?.toString()).toBe('second');
  });

  it('does not take an older record for the last while an open transaction hides the end', async () => {
    const { checkpoint, topic, producer, write } = await create();
    await write('first');
    await (await producer.begin()).send([checkpoint.record(Buffer.from('second'))]);
    await expect(checkpoint.read(500)).rejects.toMatchObject({ code: 'CHECKPOINT_HIDDEN' });
    // What a taking-over reader does: fence, then read.
    await fixture.createProducer({ transactionalId: topic });
    expect((await checkpoint.read(5_000)).record?.toString()).toBe('first');
    expect(await readAll(log, { topic, isolation: 'read_uncommitted' })).toHaveLength(2);
  });
});
