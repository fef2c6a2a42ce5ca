// Many partitions read at once from a real broker: nothing left out and nothing twice, whatever a fetch begins in, and an
// offset that Kafka does not have is reported instead of jumped over (I2, I11).
import { afterAll, afterEach, beforeAll, describe, expect, inject, it } from 'vitest';
import type { FetchedBatch } from '#kafka/reading/fetched-batch.ts';
import { Fetcher, type FetcherOptions } from '#kafka/reading/fetcher.ts';
import { plainServers } from '#kafka/servers.ts';
import { silentLogger, withKafkaAdmin } from '../../support/kafka/admin.ts';
import { createKafkaFixture, type KafkaFixture, recordsFor } from '../../support/kafka/fixture.ts';
import { waitFor } from '../../support/wait.ts';

const { brokers } = inject('servers');
let fixture: KafkaFixture;
const open: Fetcher[] = [];

beforeAll(() => {
  fixture = createKafkaFixture('fetcher', brokers);
});
afterEach(() => Promise.all(open.splice(0).map((fetcher) => fetcher.close())));
afterAll(() => fixture.cleanUp());

/** A fetcher that notes what it delivers; `onBatch` may hold a partition back. */
function createFetcher({ onBatch, ...options }: Partial<FetcherOptions> = {}, list = brokers) {
  const batches: FetchedBatch[] = [];
  const outOfRange: number[] = [];
  const failures: unknown[] = [];
  const fetcher = new Fetcher({
    kafka: plainServers(list.split(',')),
    clientId: fixture.id,
    logger: silentLogger,
    maxWaitMs: 100,
    maxBytes: 64 * 1024,
    maxBytesPerPartition: 8 * 1024,
    onOutOfRange: ({ partition }) => outOfRange.push(partition),
    onFailed: (error) => failures.push(error),
    ...options,
    onBatch: async (batch) => {
      batches.push(batch);
      await onBatch?.(batch);
    },
  });
  open.push(fetcher);
  const of = (partition: number) => batches.filter((batch) => batch.partition === partition);
  const values = (partition: number) => of(partition).flatMap(({ records }) => records.map(({ value }) => `${value}`));
  /** Each fetch asked for what follows the last one. */
  const expectNoGap = (partition: number) => {
    for (const [index, batch] of of(partition).entries()) {
      if (index > 0) expect(batch.firstOffset).toBe(of(partition)[index - 1]!.lastOffset + 1n);
    }
  };
  return { fetcher, batches, outOfRange, failures, of, values, expectNoGap };
}
const from = (topic: string, partition: number, offset = 0n) => ({ topic, partition, offset });

async function publish(topic: string, partitions: readonly number[], count: number, label: string): Promise<void> {
  const producer = await fixture.createProducer({ transactionalId: `${topic}-${label}` });
  const transaction = await producer.begin();
  await transaction.send(partitions.flatMap((partition) => recordsFor(topic, partition, count, label)));
  await transaction.commit();
  await producer.close();
}

describe('a fetcher', () => {
  it('reads every partition to its end and on, in fetches that follow one another', async () => {
    const topic = await fixture.createTopic(6);
    const partitions = [0, 1, 2, 3, 4, 5];
    await publish(topic, partitions, 2_000, 'first');
    const { fetcher, values, expectNoGap, failures } = createFetcher();
    fetcher.start(partitions.map((partition) => from(topic, partition)));
    const expected = recordsFor(topic, 0, 2_000, 'first').map(({ value }) => value.toString());
    await waitFor('all records', () => partitions.every((partition) => values(partition).length >= 2_000));
    await publish(topic, partitions, 1, 'later');
    await waitFor('the later ones', () => partitions.every((partition) => values(partition).length >= 2_001));
    for (const partition of partitions) {
      expect(values(partition)).toEqual([...expected, 'later 0']);
      expectNoGap(partition);
    }
    expect(failures).toEqual([]);
  });

  it('gives no aborted record, wherever a fetch begins in aborted transactions that overlap', async () => {
    const topic = await fixture.createTopic();
    const names = ['one', 'two', 'three'];
    const producers = await Promise.all(
      names.map((name) => fixture.createProducer({ transactionalId: `${topic}-${name}` })),
    );
    const transactions = await Promise.all(producers.map((producer) => producer.begin()));
    // Begun in one order, aborted in another: the broker lists them by their ends.
    for (const transaction of transactions) await transaction.send(recordsFor(topic, 0, 2, 'aborted'));
    for (const transaction of transactions) await transaction.send(recordsFor(topic, 0, 2, 'aborted'));
    for (const index of [1, 2, 0]) await transactions[index]!.abort();
    const committed = await producers[0]!.begin();
    await committed.send(recordsFor(topic, 0, 1, 'committed'));
    await committed.commit();
    for (const fromOffset of [0n, 1n, 3n, 7n, 11n, 12n, 14n]) {
      const { fetcher, values, of } = createFetcher();
      fetcher.start([from(topic, 0, fromOffset)]);
      // Three markers, the committed record at 15, and its marker.
      await waitFor('the end of the partition', () => (of(0).at(-1)?.lastOffset ?? -1n) >= 16n);
      expect(values(0), `from ${fromOffset}`).toEqual(['committed 0']);
      expect(of(0)[0]!.firstOffset).toBe(fromOffset);
    }
  });

  it('reports an offset that Kafka does not have, below and above, and reads the other partitions on', async () => {
    const topic = await fixture.createTopic(3);
    await publish(topic, [0, 1, 2], 10, 'value');
    await withKafkaAdmin(brokers, async (admin) => {
      await admin.fetchTopicOffsets(topic); // kafkajs deletes records of topics only whose metadata it has
      await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '6' }] });
    });
    const { fetcher, outOfRange, of, values } = createFetcher();
    fetcher.start([from(topic, 0, 5n), from(topic, 1, 100n), from(topic, 2)]);
    await waitFor('the reports', () => outOfRange.length >= 2);
    await waitFor('the other partition', () => values(2).length === 10);
    expect(outOfRange.toSorted()).toEqual([0, 1]);
    expect([of(0), of(1)]).toEqual([[], []]);
  });

  it('holds one fetch a partition back at most, and goes on with the others meanwhile', async () => {
    const topic = await fixture.createTopic(2);
    await publish(topic, [0, 1], 3_000, 'value');
    const taken = Promise.withResolvers<void>();
    const { fetcher, of, values, expectNoGap } = createFetcher({
      onBatch: ({ partition }) => (partition === 0 ? taken.promise : Promise.resolve()),
    });
    fetcher.start([from(topic, 0), from(topic, 1)]);
    await waitFor('the other partition', () => values(1).length === 3_000);
    expect(of(0)).toHaveLength(1);
    taken.resolve();
    await waitFor('the first partition', () => values(0).length === 3_000);
    expectNoGap(0);
  });

  it('delivers nothing of a partition that was stopped, or started again elsewhere, while a fetch was on its way', async () => {
    const topic = await fixture.createTopic(2);
    const { fetcher, batches, values } = createFetcher({ maxWaitMs: 500 });
    fetcher.start([from(topic, 0), from(topic, 1)]);
    await publish(topic, [0], 1, 'known');
    await waitFor('a first record', () => values(0).length === 1);
    fetcher.stop({ topic, partition: 1 });
    fetcher.start([from(topic, 0, 0n)]);
    await publish(topic, [0, 1], 1, 'second');
    await waitFor('the second record', () => values(0).at(-1) === 'second 0');
    expect(values(0)).toEqual(['known 0', 'known 0', 'second 0']);
    expect(batches.filter(({ partition }) => partition === 1)).toEqual([]);
  });

  it('reads a batch that is larger than its limits whole, also behind other partitions', async () => {
    const topic = await fixture.createTopic(3);
    await publish(topic, [0, 1, 2], 500, 'small');
    const large = Buffer.alloc(200_000, 7);
    const producer = await fixture.createProducer({ transactionalId: `${topic}-large` });
    const transaction = await producer.begin();
    await transaction.send([{ topic, partition: 2, key: 'k', value: large }]);
    await transaction.commit();
    const { fetcher, of, values } = createFetcher({ maxBytes: 16 * 1024 });
    fetcher.start([from(topic, 0), from(topic, 1), from(topic, 2)]);
    await waitFor('the large record', () => values(2).length === 501);
    expect(
      of(2)
        .flatMap(({ records }) => records)
        .at(-1)!.value!.length,
    ).toBe(large.length);
    await waitFor('the others', () => values(0).length === 500 && values(1).length === 500);
  });

  it('fails by name when no broker can be reached', async () => {
    const { failures } = createFetcher({}, '127.0.0.1:1');
    await waitFor('the failure', () => failures.length > 0, { deadlineMs: 30_000 });
    expect(failures[0]).toMatchObject({ code: 'KAFKA_AWAY' });
  });
});
