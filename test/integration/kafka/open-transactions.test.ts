// What holds the last stable offset of a partition, asked of a real broker.
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { readOpenTransactions } from '#kafka/reading/open-transactions.ts';
import { createPartitionClient, type PartitionClient } from '#kafka/reading/partition-client.ts';
import { plainServers } from '#kafka/servers.ts';
import { silentLogger } from '../../support/kafka/admin.ts';
import { createKafkaFixture, type KafkaFixture, recordsFor } from '../../support/kafka/fixture.ts';
import { waitFor } from '../../support/wait.ts';

describe('open transactions', () => {
  let fixture: KafkaFixture;
  let client: PartitionClient;
  beforeAll(async () => {
    const { brokers } = inject('servers');
    fixture = createKafkaFixture('open-transactions', brokers);
    const options = { clientId: 'open-transactions', logger: silentLogger, requestTimeoutMs: 10_000 };
    client = await createPartitionClient({ kafka: plainServers(fixture.brokers), ...options });
  });
  afterAll(async () => {
    await client.close();
    await fixture.cleanUp();
  });

  it('are told with their producer and where they begin, and are gone with their end', async () => {
    const topic = await fixture.createTopic(3);
    const producer = await fixture.createProducer({ transactionalId: `${topic}-a` });
    const committed = await producer.begin();
    await committed.send(recordsFor(topic, 1, 2, 'committed'));
    await committed.commit();
    const read = () => readOpenTransactions(client, topic, 10_000);
    await waitFor('the commit marker', async () => (await read()).length === 0);

    const open = await producer.begin();
    await open.send(recordsFor(topic, 1, 2, 'open'));
    const before = Date.now();
    const [found, ...others] = await read();
    expect(others).toEqual([]);
    // Two records and their commit marker stand before it.
    expect(found).toMatchObject({
      partition: 1,
      producerId: producer.producerId,
      transactionStartOffset: 3n,
      highWatermark: 5n,
    });
    expect(Math.abs(before - found!.lastTimestampMs)).toBeLessThan(60_000);
    await open.abort();
    await waitFor('the abort marker', async () => (await read()).length === 0);
  });
});
