// Kafka's transaction protocol over kafkajs's connections. Guarantees: a batch keeps its sequence number however often it
// is sent, and is not sent again while in flight, so that a partition has it once and in order when a leader moves or a
// response is lost (I4); nothing counts as stored that its leader has not confirmed. kafkajs's own producer gives neither
// (contract tests). Retriable requests are retried until the caller closes the cluster, which is its deadline; EndTxn is
// sent once. What follows from a failure is left to transactional-producer.ts.

import { createKafkaError, isRetriable, kafkaErrorType } from '#kafka/errors.ts';
import type { KafkaBroker, KafkaCluster } from '#kafka/protocol/cluster.ts';
import {
  type Compression,
  type ProduceBatch,
  type ProducerIdentity,
  produceExchange,
} from '#kafka/protocol/produce-request.ts';
import type { PartitionRecords } from '#kafka/protocol/record.ts';
import { type BackOff, retry } from '#service/retry.ts';

/** Right after a commit Kafka responds CONCURRENT_TRANSACTIONS for a millisecond or two, until its markers are written. */
const BACK_OFF: BackOff = { firstMs: 1, longestMs: 100 };
/** So often without that wait: most transactions then begin within 1 ms of the last one's end (docs/performance.md). */
const ASK_AT_ONCE = 20;
const LARGEST_SEQUENCE = 2 ** 31 - 1;

/** The sequence number `count` records after `sequence`; 0 follows 2^31 − 1. */
export function advanceSequence(sequence: number, count: number): number {
  const distance = LARGEST_SEQUENCE - sequence;
  return count > distance ? count - distance - 1 : sequence + count;
}

interface TransactionClientOptions {
  readonly cluster: KafkaCluster;
  readonly transactionalId: string;
  readonly transactionTimeoutMs: number;
  /** How long a leader may wait for its in-sync replicas. */
  readonly produceTimeoutMs: number;
  readonly compression: Compression;
  readonly isClosed: () => boolean;
}

export class TransactionClient {
  readonly #options: TransactionClientOptions;
  readonly #cluster: KafkaCluster;
  #identity: ProducerIdentity | undefined;
  #coordinator: KafkaBroker | undefined;
  /** The partitions that the coordinator has in the open transaction, and the next sequence numbers: by topic, partition. */
  readonly #added = new Map<string, Set<number>>();
  readonly #sequences = new Map<string, Map<number, number>>();

  constructor(options: TransactionClientOptions) {
    this.#options = options;
    this.#cluster = options.cluster;
  }

  /** Fences earlier owners of the transactional id; Kafka aborts their open transaction. Resolves to Kafka's id of the producer. */
  async initProducer(): Promise<bigint> {
    const { transactionalId, transactionTimeoutMs: transactionTimeout } = this.#options;
    const { producerId, producerEpoch } = await this.#askCoordinatorWithRetry((broker) =>
      broker.initProducerId({ transactionalId, transactionTimeout }),
    );
    this.#identity = { transactionalId, producerId: BigInt(producerId), producerEpoch };
    return this.#identity.producerId;
  }

  /** Stores every batch at its partition's leader; resolves to the base offset of each. */
  async produce(send: readonly PartitionRecords[]): Promise<readonly bigint[]> {
    const batches = send.map((records) => this.#takeSequences(records));
    await this.#addPartitions(send);
    const stored = new Map<ProduceBatch, bigint>();
    const forgetLeaders = (): void => {
      for (const { topic } of batches) this.#cluster.forgetLeaders(topic);
    };
    await this.#retry(() => this.#sendToLeaders(batches, stored), forgetLeaders);
    return batches.map((batch) => stored.get(batch)!);
  }

  /** Ends the transaction; sends no request if nothing was produced to it. */
  async end(how: 'commit' | 'abort'): Promise<void> {
    if (this.#added.size > 0) {
      const request = { ...this.#initialised(), transactionResult: how === 'commit' };
      await this.#askCoordinator((broker) => broker.endTxn(request));
    }
    this.#added.clear();
  }

  #initialised(): ProducerIdentity {
    if (this.#identity === undefined) throw new Error('The producer was used before it was initialised.');
    return this.#identity;
  }

  #retry<T>(request: () => Promise<T>, onRetry: (error: unknown) => void): Promise<T> {
    const isTransient = (error: unknown) => !this.#options.isClosed() && isRetriable(error);
    return retry(request, { backOff: BACK_OFF, isTransient, onRetry });
  }

  async #askCoordinator<T>(ask: (broker: KafkaBroker) => Promise<T>): Promise<T> {
    this.#coordinator ??= await this.#cluster.findTransactionCoordinator(this.#options.transactionalId);
    return ask(this.#coordinator);
  }

  #askCoordinatorWithRetry<T>(ask: (broker: KafkaBroker) => Promise<T>): Promise<T> {
    return this.#retry(
      () => this.#askCoordinator(ask),
      (error) => {
        if (kafkaErrorType(error) !== 'CONCURRENT_TRANSACTIONS') this.#coordinator = undefined;
      },
    );
  }

  async #addPartitions(batches: readonly PartitionRecords[]): Promise<void> {
    const missing = batches.filter(({ topic, partition }) => !this.#added.get(topic)?.has(partition));
    if (missing.length === 0) return;
    const topics = [...Map.groupBy(missing, ({ topic }) => topic)].map(([topic, group]) => ({
      topic,
      partitions: group.map(({ partition }) => partition),
    }));
    const request = { ...this.#initialised(), topics };
    // A wait, however short, costs more than to ask again.
    let atOnce = ASK_AT_ONCE;
    const add = (broker: KafkaBroker): Promise<unknown> =>
      broker.addPartitionsToTxn(request).catch(async (error: unknown) => {
        // Kafka refuses all where it refuses one, and kafkajs shows the first result: topic by topic, the cause shows.
        if (kafkaErrorType(error) === 'OPERATION_NOT_ATTEMPTED') {
          for (const topic of topics) await broker.addPartitionsToTxn({ ...request, topics: [topic] });
          return;
        }
        if (kafkaErrorType(error) !== 'CONCURRENT_TRANSACTIONS' || atOnce-- === 0 || this.#options.isClosed())
          throw error;
        await add(broker);
      });
    await this.#askCoordinatorWithRetry(add);
    for (const { topic, partition } of missing) this.#added.getOrInsertComputed(topic, () => new Set()).add(partition);
  }

  #takeSequences({ topic, partition, records }: PartitionRecords): ProduceBatch {
    const next = this.#sequences.getOrInsertComputed(topic, () => new Map());
    const firstSequence = next.get(partition) ?? 0;
    next.set(partition, advanceSequence(firstSequence, records.length));
    return { topic, partition, records, firstSequence };
  }

  async #sendToLeaders(batches: readonly ProduceBatch[], stored: Map<ProduceBatch, bigint>): Promise<void> {
    const pending = batches.filter((batch) => !stored.has(batch));
    const byLeader = new Map<number, ProduceBatch[]>();
    for (const batch of pending) {
      const leader = (await this.#cluster.findLeaders(batch.topic)).get(batch.partition);
      if (leader === undefined) throw new Error(`Topic ${batch.topic} has no partition ${batch.partition}.`);
      byLeader.getOrInsertComputed(leader, () => []).push(batch);
    }
    // All requests end before anything is retried: a batch must not be in flight twice.
    const results = await Promise.allSettled(
      [...byLeader].map(([leader, group]) => this.#sendTo(leader, group, stored)),
    );
    let failure: Error | undefined;
    for (const result of results) if (result.status === 'rejected') failure = preferFinal(failure, result.reason);
    if (failure !== undefined) throw failure;
  }

  /** Sends `batches` to one leader, and adds to `stored` those that it confirms; throws if it refuses one. */
  async #sendTo(leader: number, batches: readonly ProduceBatch[], stored: Map<ProduceBatch, bigint>): Promise<void> {
    const broker = await this.#cluster.findBroker(leader);
    const { produceTimeoutMs: timeoutMs, compression } = this.#options;
    const producer = this.#initialised();
    const exchange = produceExchange({ producer, timeoutMs, batches, compression, nowMs: Date.now() });
    const { topics } = await broker.connectionPool.send(exchange);
    let refused: Error | undefined;
    for (const batch of batches) {
      const { topic, partition } = batch;
      const results = topics.find(({ topicName }) => topicName === topic)?.partitions;
      const result = results?.find((one) => one.partition === partition);
      if (result === undefined) throw new Error(`The produce response has no result for ${topic}[${partition}].`);
      if (result.errorCode === 0) stored.set(batch, BigInt(result.baseOffset));
      else refused = preferFinal(refused, createKafkaError(result.errorCode));
    }
    if (refused !== undefined) throw refused;
  }
}

/** Of two failures, the one that a retry can't mend. */
function preferFinal(first: Error | undefined, second: Error): Error {
  return first === undefined || (isRetriable(first) && !isRetriable(second)) ? second : first;
}
