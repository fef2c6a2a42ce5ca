// The reader's one way to publish. Guarantees: what a transaction sent becomes visible with its commit, all of it or
// nothing (I5); a send that resolves was stored by every in-sync replica of every partition, in order and once (I4);
// earlier owners of the transactional id are fenced before it exists. One transaction at a time, one send in flight.
// After any error it is of no more use: the caller closes it and starts again, and the checkpoint tells whether the last
// commit happened. Not kafkajs's producer, which loses and duplicates records when a leader moves (ARCHITECTURE.md).

import { createKafkaCluster } from '#service/kafka-cluster.ts';
import { withDeadline } from '#service/kafka-deadline.ts';
import { KafkaAwayError, kafkaErrorType } from '#service/kafka-errors.ts';
import type { Logger } from '#service/logger.ts';
import { ProducerFencedError, PublishOutcomeUnknownError, RecordTooLargeError } from './producer-errors.ts';
import { type OutgoingRecord, type Send, type SendBounds, splitSends } from './split-sends.ts';
import { createTransactionClient, type TransactionClient } from './transaction-client.ts';

export type { OutgoingRecord };

/** Where the first record of this send went in one partition; the others follow it without a gap. */
export interface SentTo {
  readonly topic: string;
  readonly partition: number;
  readonly baseOffset: bigint;
}

export interface TransactionalProducer {
  /** Begins a transaction; the one before must have ended. Costs no round trip. */
  begin(): Promise<KafkaTransaction>;
  /** Cuts the connections at once; an open transaction is aborted by the next owner's fencing, or its timeout. */
  close(): Promise<void>;
}

export interface KafkaTransaction {
  /**
   * Sends `records`, whose order in each partition is kept. Resolves once all are stored, with one entry a partition.
   * Throws {@link ProducerFencedError}, {@link RecordTooLargeError}, else `KafkaAwayError`.
   */
  send(records: readonly OutgoingRecord[]): Promise<readonly SentTo[]>;
  /** Throws {@link ProducerFencedError} when it did not happen, {@link PublishOutcomeUnknownError} when nobody knows. */
  commit(): Promise<void>;
  abort(): Promise<void>;
}

/** One batch a partition, within Kafka's default max.message.bytes of 1,048,588; 8 MB are written within 10 ms. */
const defaultBounds: SendBounds = { partitionBytes: 900_000, sendBytes: 8 * 1024 * 1024 };

/**
 * Creates the producer. Resolves once Kafka has given it the transactional id: every earlier owner is fenced and its open
 * transaction aborted. `transactionTimeoutMs` is how long Kafka lets a transaction stay open, `requestTimeoutMs` how
 * long one operation may take, repetitions included. Throws `KafkaAwayError`, {@link ProducerFencedError}.
 */
export async function createTransactionalProducer(options: {
  brokers: readonly string[];
  clientId: string;
  transactionalId: string;
  transactionTimeoutMs: number;
  requestTimeoutMs: number;
  logger: Logger;
  bounds?: Partial<SendBounds>;
}): Promise<TransactionalProducer> {
  const { transactionalId, transactionTimeoutMs, requestTimeoutMs } = options;
  const bounds = { ...defaultBounds, ...options.bounds };
  const late = (what: string) => () => new KafkaAwayError(`The ${what} was not answered within ${requestTimeoutMs} ms`);
  const cluster = await createKafkaCluster(options);
  let state: 'ready' | 'open' | 'busy' | 'unusable' = 'ready';
  const client = createTransactionClient({
    cluster,
    transactionalId,
    transactionTimeoutMs,
    produceTimeoutMs: requestTimeoutMs,
    isClosed: () => state === 'unusable',
  });

  /** Runs one operation, alone and in time; any failure makes the producer unusable and cuts its connections. */
  async function run<T>(
    from: 'ready' | 'open',
    to: 'ready' | 'open',
    what: string,
    work: () => Promise<T>,
  ): Promise<T> {
    if (state === 'unusable') throw new KafkaAwayError(`This producer failed before or is closed: no ${what}`);
    if (state !== from)
      throw new Error(`A ${what} while the producer is ${state}: one at a time (a bug of the caller).`);
    state = 'busy';
    try {
      const result = await withDeadline(work(), requestTimeoutMs, late(what));
      state = to;
      return result;
    } catch (error) {
      await close();
      throw nameError(error, transactionalId, what);
    }
  }
  const close = async (): Promise<void> => {
    state = 'unusable';
    await cluster.close();
  };

  await run('ready', 'ready', 'initialisation', client.initProducer);
  return {
    close,
    begin: () =>
      run('ready', 'open', 'begin', async () => ({
        send: (records) => run('open', 'open', 'send', () => sendAll(client, splitSends(records, bounds))),
        commit: () => run('open', 'ready', 'commit', () => client.end('commit')),
        abort: () => run('open', 'ready', 'abort', () => client.end('abort')),
      })),
  };
}

async function sendAll(client: TransactionClient, sends: readonly Send[]): Promise<readonly SentTo[]> {
  const sentTo = new Map<string, SentTo & { nextOffset: bigint }>();
  for (const send of sends) {
    const baseOffsets = await sendOnce(client, send);
    for (const [index, { topic, partition, records }] of send.batches.entries()) {
      const name = `${topic}[${partition}]`;
      const baseOffset = baseOffsets[index]!;
      const first = sentTo.get(name) ?? { topic, partition, baseOffset, nextOffset: baseOffset };
      if (baseOffset !== first.nextOffset) {
        const jump = `${name} went on at offset ${baseOffset} instead of ${first.nextOffset} within one transaction`;
        throw new KafkaAwayError(`${jump}: something else writes to it, or it was recreated`);
      }
      sentTo.set(name, { ...first, nextOffset: baseOffset + BigInt(records.length) });
    }
  }
  return [...sentTo.values()].map(({ topic, partition, baseOffset }) => ({ topic, partition, baseOffset }));
}

async function sendOnce(client: TransactionClient, send: Send): Promise<readonly bigint[]> {
  try {
    return await client.produce(send.batches);
  } catch (error) {
    const type = kafkaErrorType(error);
    if (type !== 'MESSAGE_TOO_LARGE' && type !== 'RECORD_LIST_TOO_LARGE') throw error;
    const topics = [...new Set(send.batches.map(({ topic }) => topic))];
    throw new RecordTooLargeError({ topics, largestRecordBytes: send.largestRecordBytes }, { cause: error });
  }
}

const fencedTypes = ['INVALID_PRODUCER_EPOCH', 'PRODUCER_FENCED', 'INVALID_PRODUCER_ID_MAPPING'];

function nameError(error: unknown, transactionalId: string, what: string): Error {
  const type = kafkaErrorType(error);
  if (error instanceof RecordTooLargeError) return error;
  if (type !== undefined && fencedTypes.includes(type))
    return new ProducerFencedError(transactionalId, { cause: error });
  if (what === 'commit') return new PublishOutcomeUnknownError(transactionalId, { cause: error });
  if (error instanceof KafkaAwayError) return error;
  return new KafkaAwayError(`The ${what} failed`, { cause: error });
}
