import { createRequire } from 'node:module';
import { describe, expect, it } from 'vitest';
import { createKafkaError } from '#kafka/errors.ts';
import { TransactionClient } from '#kafka/producer/transaction-client.ts';
import type { KafkaBroker, KafkaCluster, KafkaExchange } from '#kafka/protocol/cluster.ts';
import type { PartitionRecords } from '#kafka/protocol/record.ts';

const codes = { notLeader: 6, tooLarge: 10, notCoordinator: 16, fenced: 47, concurrent: 51 };
const DecoderClass = createRequire(import.meta.url)('kafkajs/src/protocol/decoder');

interface SentBatch {
  readonly leader: number;
  readonly partition: number;
  readonly firstSequence: number;
  readonly records: number;
}
type Answer = { partition: number; errorCode: number; baseOffset: string }[];

/** Reads which batches a Produce request holds. */
function parseBatches(bytes: Buffer, leader: number): SentBatch[] {
  const request = new DecoderClass(bytes);
  request.readString();
  request.readInt16();
  request.readInt32();
  return request
    .readArray(() => {
      request.readString();
      return request.readArray(() => {
        const partition = request.readInt32();
        const batch: Buffer = request.readBytes();
        return { leader, partition, firstSequence: batch.readInt32BE(53), records: batch.readInt32BE(57) };
      });
    })
    .flat();
}

/** A cluster whose brokers answer as told, and the requests that it saw. */
function createFakeCluster() {
  const sent: SentBatch[] = [];
  const added: number[][] = [];
  const ends: boolean[] = [];
  const leaders = new Map([0, 1, 2].map((partition) => [partition, partition === 0 ? 1 : 2]));
  let lookups = 0;
  const script = {
    addPartitions: [] as number[],
    end: undefined as Error | undefined,
    produce: async (batches: SentBatch[]): Promise<Answer> =>
      batches.map(({ partition }) => ({ partition, errorCode: 0, baseOffset: '100' })),
  };
  const broker = (leader: number) =>
    ({
      initProducerId: async () => ({ producerId: '7', producerEpoch: 3 }),
      async addPartitionsToTxn({ topics }: { topics: { partitions: number[] }[] }) {
        added.push(topics.flatMap(({ partitions }) => partitions));
        const code = script.addPartitions.shift() ?? 0;
        if (code !== 0) throw createKafkaError(code);
      },
      async endTxn({ transactionResult }: { transactionResult: boolean }) {
        ends.push(transactionResult);
        if (script.end) throw script.end;
      },
      connectionPool: {
        async send(exchange: KafkaExchange<unknown>) {
          const { encode } = exchange.request as { encode(): Promise<{ buffer: Buffer }> };
          const batches = parseBatches((await encode()).buffer, leader);
          sent.push(...batches);
          return { topics: [{ topicName: 't', partitions: await script.produce(batches) }] };
        },
      },
    }) as unknown as KafkaBroker;
  const cluster: KafkaCluster = {
    findLeaders: async () => new Map(leaders),
    forgetLeaders: () => undefined,
    findBroker: async (nodeId) => broker(nodeId),
    findTransactionCoordinator: async () => {
      lookups += 1;
      return broker(9);
    },
    reconnect: () => undefined,
    close: async () => undefined,
  };
  return { cluster, sent, added, ends, leaders, script, lookups: () => lookups };
}

async function createClient(fake: ReturnType<typeof createFakeCluster>) {
  const timeouts = { transactionTimeoutMs: 60_000, produceTimeoutMs: 10_000 };
  const client = new TransactionClient({
    cluster: fake.cluster,
    transactionalId: 'id',
    isClosed: () => false,
    compression: 'none',
    ...timeouts,
  });
  await client.initProducer();
  return client;
}

const batch = (partition: number, count = 1): PartitionRecords => ({
  topic: 't',
  partition,
  records: Array.from({ length: count }, () => ({ topic: 't', partition, key: 'k', value: Buffer.from('v') })),
});

describe('producing in a transaction', () => {
  it('numbers the records of each partition on their own, over sends and transactions', async () => {
    const fake = createFakeCluster();
    const client = await createClient(fake);
    await client.produce([batch(0, 2), batch(1, 1)]);
    await client.end('commit');
    await client.produce([batch(0, 3)]);
    await client.produce([batch(0), batch(1)]);
    expect(fake.sent.map(({ partition, firstSequence }) => [partition, firstSequence])).toEqual([
      [0, 0],
      [1, 0],
      [0, 2],
      [0, 5],
      [1, 1],
    ]);
  });

  it('fails when a leader leaves a batch out of its answer', async () => {
    const fake = createFakeCluster();
    const client = await createClient(fake);
    fake.script.produce = async (batches) =>
      batches
        .filter(({ partition }) => partition !== 2)
        .map(({ partition }) => ({ partition, errorCode: 0, baseOffset: '0' }));
    await expect(client.produce([batch(0), batch(1), batch(2)])).rejects.toThrow('no result for t[2]');
  });

  it('sends what a leader refused to the new one under the same number, and nothing that is stored already', async () => {
    const fake = createFakeCluster();
    const client = await createClient(fake);
    fake.script.produce = async (batches) =>
      batches.map(({ leader, partition }) => {
        const moved = leader === 1;
        if (moved) fake.leaders.set(0, 2);
        return { partition, errorCode: moved ? codes.notLeader : 0, baseOffset: String(partition + 40) };
      });
    expect(await client.produce([batch(0, 4), batch(1), batch(2)])).toEqual([40n, 41n, 42n]);
    expect(fake.sent).toEqual([
      { leader: 1, partition: 0, firstSequence: 0, records: 4 },
      { leader: 2, partition: 1, firstSequence: 0, records: 1 },
      { leader: 2, partition: 2, firstSequence: 0, records: 1 },
      { leader: 2, partition: 0, firstSequence: 0, records: 4 },
    ]);
  });

  it('repeats nothing while another leader has not answered', async () => {
    const fake = createFakeCluster();
    const client = await createClient(fake);
    let answer = () => {};
    const slow = new Promise<void>((resolve) => {
      answer = resolve;
    });
    fake.script.produce = async (batches) => {
      if (batches[0]!.leader === 1 && fake.leaders.get(0) === 1) {
        fake.leaders.set(0, 2);
        throw createKafkaError(codes.notLeader);
      }
      if (fake.sent.length <= 2) await slow;
      return batches.map(({ partition }) => ({ partition, errorCode: 0, baseOffset: '0' }));
    };
    const producing = client.produce([batch(0), batch(1)]);
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(fake.sent).toHaveLength(2);
    answer();
    await producing;
    expect(fake.sent.filter(({ partition }) => partition === 1)).toHaveLength(1);
  });

  it('gives up on what repeating can not mend, whatever else went wrong', async () => {
    const fake = createFakeCluster();
    const client = await createClient(fake);
    fake.script.produce = async (batches) =>
      batches.map(({ partition }) => ({
        partition,
        errorCode: partition === 1 ? codes.tooLarge : codes.notLeader,
        baseOffset: '-1',
      }));
    await expect(client.produce([batch(0), batch(1), batch(2)])).rejects.toMatchObject({ type: 'MESSAGE_TOO_LARGE' });
  });

  it('announces each partition to the coordinator once a transaction', async () => {
    const fake = createFakeCluster();
    const client = await createClient(fake);
    await client.produce([batch(0), batch(1)]);
    await client.produce([batch(1), batch(2)]);
    await client.end('commit');
    await client.produce([batch(1)]);
    expect(fake.added).toEqual([[0, 1], [2], [1]]);
  });

  it('waits for the markers of the last transaction without asking for the coordinator again', async () => {
    const fake = createFakeCluster();
    fake.script.addPartitions = [codes.concurrent, codes.concurrent];
    await (await createClient(fake)).produce([batch(0)]);
    expect(fake.added).toHaveLength(3);
    expect(fake.lookups()).toBe(1);
  });

  it('asks for the coordinator again when it has moved', async () => {
    const fake = createFakeCluster();
    fake.script.addPartitions = [codes.notCoordinator];
    await (await createClient(fake)).produce([batch(0)]);
    expect(fake.lookups()).toBe(2);
  });

  it('does not repeat what a fenced producer asks for', async () => {
    const fake = createFakeCluster();
    fake.script.addPartitions = [codes.fenced];
    const producing = (await createClient(fake)).produce([batch(0)]);
    await expect(producing).rejects.toMatchObject({ type: 'INVALID_PRODUCER_EPOCH' });
    expect(fake.added).toHaveLength(1);
  });
});

describe('ending a transaction', () => {
  it('is asked for once, even when a repetition might succeed', async () => {
    const fake = createFakeCluster();
    const client = await createClient(fake);
    await client.produce([batch(0)]);
    fake.script.end = createKafkaError(codes.notCoordinator);
    await expect(client.end('commit')).rejects.toThrow();
    expect(fake.ends).toEqual([true]);
  });

  it('needs no request where nothing was produced', async () => {
    const fake = createFakeCluster();
    const client = await createClient(fake);
    await client.end('commit');
    await client.produce([batch(0)]);
    await client.end('abort');
    await client.end('abort');
    expect(fake.ends).toEqual([false]);
  });
});
