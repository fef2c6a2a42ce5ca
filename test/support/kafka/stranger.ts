// Somebody who has no business in a topic of ours and opens a transaction there, with a record in every partition.

import { createKafkaClient } from '#kafka/client.ts';
import { plainServers } from '#kafka/servers.ts';
import { silentLogger } from './admin.ts';

export type StrangersTransaction = {
  abort(): Promise<void>;
  /** Goes away; what was not ended is aborted by Kafka after its timeout. */
  leave(): Promise<void>;
};

/** `brokers` is comma-separated. Whoever opens one under the same `name` again has the one before aborted. */
export async function openStrangersTransaction(options: {
  brokers: string;
  topic: string;
  partitions: number;
  name: string;
  timeoutMs: number;
}): Promise<StrangersTransaction> {
  const { brokers, topic, partitions, name, timeoutMs } = options;
  const kafka = createKafkaClient({ kafka: plainServers(brokers.split(',')), clientId: name, logger: silentLogger });
  const producer = kafka.producer({
    transactionalId: name,
    idempotent: true,
    maxInFlightRequests: 1,
    transactionTimeout: timeoutMs,
  });
  await producer.connect();
  try {
    const transaction = await producer.transaction();
    const messages = Array.from({ length: partitions }, (_, partition) => ({ partition, value: 'hanging' }));
    await transaction.send({ topic, messages });
    return { abort: () => transaction.abort(), leave: () => producer.disconnect() };
  } catch (error) {
    await producer.disconnect();
    throw error;
  }
}
