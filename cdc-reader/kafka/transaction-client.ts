// Kafka's transaction protocol over kafkajs's connections. Guarantees: a batch keeps its sequence number however often it
// is sent, and is not sent again while it is under way, so that a partition has it once and in order when a leader moves
// or an answer is lost (I4); nothing counts as stored that its leader has not confirmed. kafkajs's own producer gives
// neither (traps 1 and 2). What may be repeated is repeated until the caller closes the cluster, which is its deadline;
// EndTxn is sent once. What becomes of a failure is left to transactional-producer.ts.

import { setTimeout as delay } from 'node:timers/promises';
import type { KafkaBroker, KafkaCluster } from '#service/kafka-cluster.ts';
import { createKafkaError, isRetriable, kafkaErrorType } from '#service/kafka-errors.ts';
import { type ProduceBatch, type ProducerIdentity, produceExchange } from './produce-request.ts';
import type { PartitionRecords } from './split-sends.ts';

export interface TransactionClient {
  /** Fences earlier owners of the id and has their open transaction aborted. */
  initProducer(): Promise<void>;
  /** Stores every batch at its partition's leader; resolves to the offset of the first record of each. */
  produce(batches: readonly PartitionRecords[]): Promise<readonly bigint[]>;
  /** Ends the transaction; one to which nothing was produced without a request. */
  end(how: 'commit' | 'abort'): Promise<void>;
}

/** Right after a commit Kafka answers CONCURRENT_TRANSACTIONS for a millisecond or two, until its markers are written. */
const firstPauseMs = 1;
const longestPauseMs = 100;
const largestSequence = 2 ** 31 - 1;

/** The sequence number `count` records after `sequence`; 0 follows 2^31 − 1. */
export function advanceSequence(sequence: number, count: number): number {
  const distance = largestSequence - sequence;
  return count > distance ? count - distance - 1 : sequence + count;
}

/** Creates a {@link TransactionClient}. `produceTimeoutMs` is how long a leader may wait for its in-sync replicas. */
export function createTransactionClient(options: {
  cluster: KafkaCluster;
  transactionalId: string;
  transactionTimeoutMs: number;
  produceTimeoutMs: number;
  isClosed: () => boolean;
}): TransactionClient {
  const { cluster, transactionalId, isClosed } = options;
  let identity: ProducerIdentity | undefined;
  let coordinator: KafkaBroker | undefined;
  /** What the coordinator knows to be part of the open transaction, and the next sequence numbers: by topic, partition. */
  const added = new Map<string, Set<number>>();
  const sequences = new Map<string, Map<number, number>>();

  const initialised = (): ProducerIdentity => {
    if (identity === undefined) throw new Error('The producer was used before it was initialised.');
    return identity;
  };

  async function repeat<T>(attempt: () => Promise<T>, beforeRetry: (error: unknown) => void): Promise<T> {
    for (let pauseMs = firstPauseMs; ; pauseMs = Math.min(pauseMs * 2, longestPauseMs)) {
      try {
        return await attempt();
      } catch (error) {
        if (isClosed() || !isRetriable(error)) throw error;
        beforeRetry(error);
      }
      await delay(pauseMs);
    }
  }

  async function askCoordinator<T>(ask: (broker: KafkaBroker) => Promise<T>): Promise<T> {
    coordinator ??= await cluster.findTransactionCoordinator(transactionalId);
    return ask(coordinator);
  }
  const forgetCoordinator = (error: unknown): void => {
    if (kafkaErrorType(error) !== 'CONCURRENT_TRANSACTIONS') coordinator = undefined;
  };

  async function addPartitions(batches: readonly PartitionRecords[]): Promise<void> {
    const missing = batches.filter(({ topic, partition }) => !added.get(topic)?.has(partition));
    if (missing.length === 0) return;
    const topics = [...Map.groupBy(missing, ({ topic }) => topic)].map(([topic, group]) => ({
      topic,
      partitions: group.map(({ partition }) => partition),
    }));
    const request = { ...initialised(), topics };
    await repeat(() => askCoordinator((broker) => broker.addPartitionsToTxn(request)), forgetCoordinator);
    for (const { topic, partition } of missing) added.getOrInsertComputed(topic, () => new Set()).add(partition);
  }

  function takeSequences({ topic, partition, records }: PartitionRecords): ProduceBatch {
    const next = sequences.getOrInsertComputed(topic, () => new Map());
    const firstSequence = next.get(partition) ?? 0;
    next.set(partition, advanceSequence(firstSequence, records.length));
    return { topic, partition, records, firstSequence };
  }

  /** Sends `batches` to one leader, and notes in `stored` those that it confirms; throws on the others. */
  async function sendTo(leader: number, batches: readonly ProduceBatch[], stored: Map<ProduceBatch, bigint>) {
    const broker = await cluster.findBroker(leader);
    const producer = initialised();
    const timeoutMs = options.produceTimeoutMs;
    const exchange = produceExchange({ producer, timeoutMs, batches, nowMs: Date.now() });
    const { topics } = await broker.connectionPool.send(exchange);
    let refused: Error | undefined;
    for (const batch of batches) {
      const answers = topics.find(({ topicName }) => topicName === batch.topic)?.partitions ?? [];
      const answer = answers.find(({ partition }) => partition === batch.partition);
      if (answer === undefined) throw new Error(`No answer for ${batch.topic}[${batch.partition}].`);
      if (answer.errorCode === 0) stored.set(batch, BigInt(answer.baseOffset));
      else refused = moreFinal(refused, createKafkaError(answer.errorCode));
    }
    if (refused !== undefined) throw refused;
  }

  async function sendToLeaders(batches: readonly ProduceBatch[], stored: Map<ProduceBatch, bigint>): Promise<void> {
    const waiting = batches.filter((batch) => !stored.has(batch));
    const byLeader = new Map<number, ProduceBatch[]>();
    for (const batch of waiting) {
      const leader = (await cluster.findLeaders(batch.topic)).get(batch.partition);
      if (leader === undefined) throw new Error(`Topic ${batch.topic} has no partition ${batch.partition}.`);
      byLeader.getOrInsertComputed(leader, () => []).push(batch);
    }
    // All of them settled before anything is repeated: a batch must not be under way twice.
    const results = await Promise.allSettled([...byLeader].map(([leader, group]) => sendTo(leader, group, stored)));
    let failure: Error | undefined;
    for (const result of results) if (result.status === 'rejected') failure = moreFinal(failure, result.reason);
    if (failure !== undefined) throw failure;
  }

  return {
    async initProducer() {
      const request = { transactionalId, transactionTimeout: options.transactionTimeoutMs };
      const ask = () => askCoordinator((broker) => broker.initProducerId(request));
      const { producerId, producerEpoch } = await repeat(ask, forgetCoordinator);
      identity = { transactionalId, producerId: BigInt(producerId), producerEpoch };
    },
    async produce(send) {
      const batches = send.map(takeSequences);
      await addPartitions(send);
      const stored = new Map<ProduceBatch, bigint>();
      const forgetLeaders = (): void => {
        for (const { topic } of batches) cluster.forgetLeaders(topic);
      };
      await repeat(() => sendToLeaders(batches, stored), forgetLeaders);
      return batches.map((batch) => stored.get(batch)!);
    },
    async end(how) {
      if (added.size > 0) {
        const request = { ...initialised(), transactionResult: how === 'commit' };
        await askCoordinator((broker) => broker.endTxn(request));
      }
      added.clear();
    },
  };
}

/** Of two failures the one that repeating can't mend. */
function moreFinal(first: Error | undefined, second: Error): Error {
  return first === undefined || (isRetriable(first) && !isRetriable(second)) ? second : first;
}
