import { describe, expect, it } from 'vitest';
import { readOpenTransactions } from '#kafka/reading/open-transactions.ts';

const producer = (partition: number, producerId: bigint, transactionStartOffset: bigint) => ({
  partition,
  producerId,
  producerEpoch: 0,
  lastTimestampMs: -1,
  transactionStartOffset,
});

function clientOf(lastStable: readonly bigint[], ends: readonly bigint[], producers = [producer(0, 1n, 5n)]) {
  const asked: (readonly number[])[] = [];
  return {
    asked,
    listOffsets: async (_topic: string, kind: string) =>
      new Map((kind === 'last-stable' ? lastStable : ends).map((offset, partition) => [partition, offset])),
    describeProducers: async (_topic: string, partitions: readonly number[]) => {
      asked.push(partitions);
      return producers;
    },
  };
}

describe('open transactions', () => {
  it('are not asked about where every partition is stable to its end', async () => {
    const client = clientOf([5n, 9n], [5n, 9n]);
    expect(await readOpenTransactions(client, 'live', 1_000)).toEqual([]);
    expect(client.asked).toEqual([]);
  });

  it('are, by partition, the one that begins first; who has none open counts for nothing', async () => {
    const producers = [producer(1, 7n, -1n), producer(1, 8n, 30n), producer(1, 9n, 20n), producer(2, 9n, -1n)];
    const client = clientOf([5n, 20n, 4n], [5n, 40n, 6n], producers);
    expect(await readOpenTransactions(client, 'live', 1_000)).toEqual([
      { ...producer(1, 9n, 20n), highWatermark: 40n },
    ]);
    expect(client.asked).toEqual([[1, 2]]);
  });

  it('are given up at the deadline', async () => {
    const client = { ...clientOf([1n], [2n]), describeProducers: () => new Promise<never>(() => undefined) };
    await expect(readOpenTransactions(client, 'live', 20)).rejects.toMatchObject({ code: 'KAFKA_AWAY' });
  });
});
