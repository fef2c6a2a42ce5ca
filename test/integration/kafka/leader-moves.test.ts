// Three brokers: partitions that move while a transaction is open, and a leader and coordinator killed with kill -9. The
// oracle reads the log itself afterwards: every committed record once, in order, and none that was not committed.

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { FetchedBatch } from '#kafka/reading/fetched-batch.ts';
import { Fetcher } from '#kafka/reading/fetcher.ts';
import { plainServers } from '#kafka/servers.ts';
import { createLocalKafka, type LocalKafka } from '../../../dev/servers/local-kafka.ts';
import { silentLogger, withKafkaAdmin } from '../../support/kafka/admin.ts';
import { createKafkaFixture, type KafkaFixture, readAll, recordsFor } from '../../support/kafka/fixture.ts';
import { readTopic } from '../../support/oracle/read-topic.ts';
import { createTestDirectory, removeTestDirectory } from '../../support/process/test-directory.ts';
import { waitFor } from '../../support/wait.ts';

describe('with three brokers', () => {
  let directory: string;
  let kafka: LocalKafka;
  let fixture: KafkaFixture;

  beforeAll(async () => {
    directory = createTestDirectory('leader-moves');
    kafka = await createLocalKafka({
      directory,
      nodes: 3,
      // A killed broker is noticed after 3 s instead of 9.
      settings: { 'broker.session.timeout.ms': '3000', 'broker.heartbeat.interval.ms': '500' },
    });
    await kafka.start();
    fixture = createKafkaFixture('leader-moves', kafka.bootstrap);
  });
  afterAll(async () => {
    await fixture?.cleanUp();
    await kafka?.close();
    removeTestDirectory(directory);
  });

  const committed = async (topic: string): Promise<(string | undefined)[][]> => {
    const partitions = await waitFor(
      'all transactions to end',
      async () => {
        const read = await readTopic({ brokers: fixture.brokers, topic, deadlineMs: 10_000 });
        return read.every(({ records }) => records.every(({ outcome }) => outcome !== 'open')) && read;
      },
      { deadlineMs: 30_000 },
    );
    return partitions.map(({ records }) =>
      records.filter(({ outcome }) => outcome === 'committed').map(({ value }) => value?.toString()),
    );
  };

  it('stores every record once when a partition moves to the leader of another one in the middle of a transaction', async () => {
    const topic = `${fixture.id}.moving`;
    const replicas = (broker: number) => (partition: number) => ({ partition, replicas: [broker] });
    await withKafkaAdmin(kafka.bootstrap, async (admin) => {
      await admin.createTopics({ topics: [{ topic, replicaAssignment: [replicas(1)(0), replicas(2)(1)] }] });
      await waitFor('the topic', async () => (await admin.fetchTopicOffsets(topic)).length === 2);
      const producer = await fixture.createProducer({ transactionalId: topic });
      const log = await fixture.createLog();
      const both = (label: string) => [...recordsFor(topic, 0, 2, label), ...recordsFor(topic, 1, 2, label)];
      const transaction = await producer.begin();
      await transaction.send(both('before'));
      await log.readOffsets(topic);
      await admin.alterPartitionReassignments({ topics: [{ topic, partitionAssignment: [replicas(2)(0)] }] });
      await waitFor(
        'the move',
        async () => {
          const { topics } = await admin.fetchTopicMetadata({ topics: [topic] });
          return topics[0]!.partitions.every(({ leader, replicas: on }) => leader === 2 && on.length === 1);
        },
        { deadlineMs: 30_000 },
      );
      const sentTo = await transaction.send(both('after'));
      expect(sentTo.map(({ baseOffset }) => baseOffset)).toEqual([2n, 2n]);
      await transaction.commit();
      const expected = ['before 0', 'before 1', 'after 0', 'after 1'];
      expect(await committed(topic)).toEqual([expected, expected]);
      const read = await readAll(log, { topic, partition: 0 });
      expect(read.map(({ value }) => value!.toString())).toEqual(expected);
    });
  });

  it('keeps what was committed, once and in order, when a broker is killed', async () => {
    const topic = await fixture.createTopic(3, { 'min.insync.replicas': '2' }, 3);
    const log = await fixture.createLog();
    await log.readOffsets(topic);
    const fetched: FetchedBatch[] = [];
    const failures: unknown[] = [];
    const fetcher = new Fetcher({
      kafka: plainServers(fixture.brokers),
      clientId: topic,
      logger: silentLogger,
      maxWaitMs: 200,
      maxBytes: 1_000_000,
      maxBytesPerPartition: 100_000,
      onBatch: async (batch) => void fetched.push(batch),
      onOutOfRange: ({ partition }) => failures.push(`${partition} is out of range`),
      onFailed: (error) => failures.push(error),
    });
    fetcher.start([0, 1, 2].map((partition) => ({ topic, partition, offset: 0n })));
    const confirmed: string[] = [];
    const uncertain: string[] = [];
    let refused = 0;
    let producer = await fixture.createProducer({ transactionalId: topic, requestTimeoutMs: 20_000 });
    for (let round = 0; round < 40; round += 1) {
      if (round === 10) await kafka.brokers[0]!.kill();
      if (round === 30) await kafka.brokers[0]!.start();
      try {
        const transaction = await producer.begin();
        await transaction.send([0, 1, 2].flatMap((partition) => recordsFor(topic, partition, 1, `${round},`)));
        await transaction.commit();
        confirmed.push(`${round}, 0`);
      } catch (error) {
        expect(error).toMatchObject({ code: expect.stringMatching(/^(KAFKA_AWAY|PUBLISH_OUTCOME_UNKNOWN)$/) });
        uncertain.push(`${round}, 0`);
        refused += 1;
        await producer.close();
        producer = await waitFor(
          'a new producer',
          () => fixture.createProducer({ transactionalId: topic, requestTimeoutMs: 20_000 }),
          { deadlineMs: 60_000 },
        );
      }
    }
    expect(confirmed.length).toBeGreaterThan(30);
    const partitions = await committed(topic);
    for (const values of partitions) {
      expect(values.filter((value) => !uncertain.includes(value!))).toEqual(confirmed);
      expect(new Set(values).size).toBe(values.length);
      // All partitions agree about what became of a commit nobody knows of.
      expect(values).toEqual(partitions[0]);
    }
    for (const partition of [0, 1, 2]) {
      const read = await readAll(log, { topic, partition, deadlineMs: 30_000 });
      expect(read.map(({ value }) => value!.toString())).toEqual(partitions[partition]);
      // A reader that was there all the time has followed the leaders: the same, once and in order.
      const live = () => fetched.filter((batch) => batch.partition === partition).flatMap(({ records }) => records);
      await waitFor('the fetcher', () => live().length >= read.length, { deadlineMs: 30_000 });
      expect(live().map(({ value }) => value!.toString())).toEqual(partitions[partition]);
    }
    expect(failures).toEqual([]);
    await fetcher.close();
    console.info(`${confirmed.length} of 40 transactions confirmed, ${refused} failed`);
  });
});
