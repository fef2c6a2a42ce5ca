// Kafka's transaction protocol over kafkajs's connections. Guarantees: a batch keeps its sequence number however often it
// is sent, and is never in flight twice, so that a partition has it once and in order when a leader moves or an answer
// is lost; nothing is confirmed that its leader has not. kafkajs's own producer gives neither (traps 1 and 2, contract
// tests). InitProducerId, AddPartitionsToTxn and Produce may be repeated, and are until the caller closes the cluster;
// EndTxn is sent once. Deadlines, and what becomes of a failure, are left to transactional-producer.ts.

import { setTimeout as delay } from 'node:timers/promises';
import type { KafkaBroker, KafkaCluster } from '#service/kafka-cluster.ts';
import { isRetriable } from '#service/kafka-errors.ts';
import { encodeProduceRequest, type ProduceBatch, produceResponse } from './produce-request.ts';
import type { Send } from './split-sends.ts';

export interface TransactionClient {
  /** Fences earlier owners of the id and has their open transaction aborted. */
  initProducer(): Promise<void>;
  /** Stores `send` at every partition's leader; resolves to the offset of the first record of each part, in order. */
  produce(send: Send): Promise<readonly bigint[]>;
  /** Ends the transaction; one in which nothing was sent without a request. */
  end(how: 'commit' | 'abort'): Promise<void>;
}

const firstPauseMs = 1;
const longestPauseMs = 100;
const lastSequence = 2 ** 31 - 1;

/** The sequence number after `count` records from `sequence` on: after 2^31 − 1 comes 0. */
export function nextSequence(sequence: number, count: number): number {
  return sequence > lastSequence - count ? count - (lastSequence - sequence) - 1 : sequence + count;
}

/** Creates a {@link TransactionClient}. `produceTimeoutMs`: how long a leader may wait for its in-sync replicas. */
export function createTransactionClient(options: {
  cluster: KafkaCluster;
  transactionalId: string;
  transactionTimeoutMs: number;
  produceTimeoutMs: number;
  /** Stops repeating when true. */
  isClosed: () => boolean;
}): TransactionClient {
  const { cluster, transactionalId } = options;
  let producer: { producerId: string; producerEpoch: number } | undefined;
  let coordinator: KafkaBroker | undefined;
  /** Partitions of the open transaction that its coordinator knows of, by topic. */
  let added = new Map<string, Set<number>>();
  const sequences = new Map<string, Map<number, number>>();

  const findCoordinator = async (): Promise<KafkaBroker> => {
    coordinator ??= await cluster.findTransactionCoordinator(transactionalId);
    return coordinator;
  };
  const identity = () => {
    if (producer === undefined) throw new Error('The producer was used before it was initialised.');
    return { transactionalId, ...producer };
  };

  /** Repeats `attempt` while it returns undefined or fails with what may pass; `beforeRetry` forgets what may be stale. */
  async function repeat<T>(attempt: () => Promise<T | undefined>, beforeRetry: () => void): Promise<T> {
    for (let pauseMs = firstPauseMs; ; pauseMs = Math.min(pauseMs * 2, longestPauseMs)) {
      try {
        const result = await attempt();
        if (result !== undefined) return result;
      } catch (error) {
        if (options.isClosed() || !isRetriable(error)) throw error;
      }
      beforeRetry();
      await delay(pauseMs);
    }
  }
  const forgetCoordinator = () => {
    coordinator = undefined;
  };

  const addPartitions = async (send: Send): Promise<void> => {
    const missing = send.batches.filter(({ topic, partition }) => !added.get(topic)?.has(partition));
    if (missing.length === 0) return;
    const topics = [...Map.groupBy(missing, ({ topic }) => topic)].map(([topic, parts]) => ({
      topic,
      partitions: parts.map(({ partition }) => partition),
    }));
    await repeat(async () => {
      const broker = await findCoordinator();
      await broker.addPartitionsToTxn({ ...identity(), topics });
      return true;
    }, forgetCoordinator);
    for (const { topic, partition } of missing) added.getOrInsertComputed(topic, () => new Set()).add(partition);
  };

  /** Sends every batch to its leader once; those that a leader did not take for now are missing in the result. */
  const sendToLeaders = async (batches: readonly ProduceBatch[]): Promise<Map<ProduceBatch, bigint>> => {
    const leaders = await Promise.all(batches.map(({ topic }) => cluster.findLeaders(topic)));
    const byLeader = Map.groupBy(batches, ({ partition }, ) => partition);
    return new Map();
  };
  return undefined as never;
}
