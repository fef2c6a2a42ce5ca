// Which open transactions hold the last stable offset of a topic's partitions, and whose they are: what read_committed consumers
// wait for. Asked over a client of its own, within a deadline; nothing is retried, since whoever asks asks again.
import { KafkaUnavailableError } from '#kafka/errors.ts';
import type { ActiveProducer } from '#kafka/protocol/describe-producers-request.ts';
import { withDeadline } from '#service/deadline.ts';
import type { PartitionClient } from './partition-client.ts';

/** The one that holds the last stable offset of its partition. */
export interface OpenTransaction extends ActiveProducer {
  readonly highWatermark: bigint;
}

/** By partition; none where brokers can't tell (before Kafka 2.8). @throws Kafka's errors, KafkaUnavailableError at the deadline */
export function readOpenTransactions(
  client: Pick<PartitionClient, 'listOffsets' | 'describeProducers'>,
  topic: string,
  deadlineMs: number,
): Promise<readonly OpenTransaction[]> {
  return withDeadline(
    read(client, topic),
    deadlineMs,
    () => new KafkaUnavailableError(`The open transactions of ${topic} were not read within ${deadlineMs} ms`),
  );
}

async function read(
  client: Pick<PartitionClient, 'listOffsets' | 'describeProducers'>,
  topic: string,
): Promise<readonly OpenTransaction[]> {
  const lastStable = await client.listOffsets(topic, 'last-stable');
  const highWatermarks = await client.listOffsets(topic, 'high-watermark');
  // What was written between the two requests looks like one that is held; its producers tell.
  const held = [...highWatermarks].filter(([partition, end]) => (lastStable.get(partition) ?? end) < end);
  if (held.length === 0) return [];
  const partitions = held.map(([partition]) => partition);
  const open = (await client.describeProducers(topic, partitions)).filter(
    ({ transactionStartOffset }) => transactionStartOffset >= 0n,
  );
  return held.flatMap(([partition, highWatermark]) => {
    const [oldest] = open
      .filter((one) => one.partition === partition)
      .toSorted((a, b) => Number(a.transactionStartOffset - b.transactionStartOffset));
    return oldest === undefined ? [] : [{ ...oldest, highWatermark }];
  });
}
