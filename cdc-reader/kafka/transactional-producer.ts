// The reader's one way to publish. Guarantees: what a transaction sent becomes visible with its commit, all of it or
// nothing (I5); a send that resolves was stored by every in-sync replica for every partition, in order and once (I4),
// which kafkajs alone does not promise (trap 1); earlier owners of the transactional id are fenced before it exists.
// One transaction at a time, one send in flight (trap 2). After any error it is of no more use (traps 3 and 7): the
// caller closes it and starts again, and the checkpoint tells whether the last commit happened.

import type { Producer, Transaction } from 'kafkajs';
import { createConnections, createKafkaClient, quickRetry } from '#service/kafka-client.ts';
import { withDeadline } from '#service/kafka-deadline.ts';
import { KafkaAwayError, kafkaErrorType } from '#service/kafka-errors.ts';
import type { Logger } from '#service/logger.ts';
import { ProducerFencedError, PublishOutcomeUnknownError, RecordTooLargeError } from './producer-errors.ts';
import { type OutgoingRecord, type Send, type SendBounds, splitSends } from './split-sends.ts';

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

/**
 * kafkajs groups a send's records by partition at a cost that is quadratic (trap 10), and makes one batch a partition,
 * which Kafka's default max.message.bytes of 1,048,588 bounds. A request of 8 MB is encoded within 30 ms or so.
 */
const defaultBounds: SendBounds = { partitionRecords: 2_000, partitionBytes: 900_000, sendBytes: 8 * 1024 * 1024 };

/**
 * Creates the producer. Resolves once Kafka has given it the transactional id: every earlier owner is fenced and its open
 * transaction aborted. `transactionTimeoutMs` is how long Kafka lets a transaction stay open, `requestTimeoutMs` how
 * long one operation may take, retries included. Throws `KafkaAwayError`, {@link ProducerFencedError}.
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
  const { transactionalId, requestTimeoutMs } = options;
  const bounds = { ...defaultBounds, ...options.bounds };
  const connections = createConnections(options.brokers);
  const kafka = createKafkaClient({ ...options, connections });
  const producer: Producer = kafka.producer({
    transactionalId,
    transactionTimeout: options.transactionTimeoutMs,
    allowAutoTopicCreation: false,
    createPartitioner:
      () =>
      ({ message }) =>
        message.partition!,
    // Bounded by our own deadline; `idempotent` would initialise a second producer that is never used.
    retry: { ...quickRetry, retries: Number.MAX_SAFE_INTEGER },
  });
  let state: 'ready' | 'open' | 'busy' | 'unusable' = 'ready';

  /** Runs one operation, alone and in time; any failure makes the producer unusable. */
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
      const late = () => new KafkaAwayError(`The ${what} was not answered within ${requestTimeoutMs} ms`);
      const result = await withDeadline(work(), requestTimeoutMs, late);
      state = to;
      return result;
    } catch (error) {
      state = 'unusable';
      // Nothing of this producer may reach Kafka any more, not even a retry that kafkajs still has in mind.
      connections.close();
      throw nameError(error, transactionalId, what);
    }
  }

  const close = async (): Promise<void> => {
    state = 'unusable';
    connections.close();
    await producer.disconnect();
  };

  try {
    await run('ready', 'ready', 'initialisation', async () => {
      await producer.connect();
      // kafkajs asks for the producer id with its first transaction; nothing was sent, so its end costs nothing.
      await (await producer.transaction()).abort();
    });
  } catch (error) {
    await close();
    throw error;
  }
  return {
    close,
    begin: () =>
      run('ready', 'open', 'begin', async () => {
        const transaction = await producer.transaction();
        return {
          send: (records) => run('open', 'open', 'send', () => sendAll(transaction, records, bounds)),
          commit: () => run('open', 'ready', 'commit', () => transaction.commit()),
          abort: () => run('open', 'ready', 'abort', () => transaction.abort()),
        };
      }),
  };
}

async function sendAll(
  transaction: Transaction,
  records: readonly OutgoingRecord[],
  bounds: SendBounds,
): Promise<readonly SentTo[]> {
  const sentTo = new Map<string, SentTo & { nextOffset: bigint }>();
  for (const send of splitSends(records, bounds)) {
    const answers = await sendOnce(transaction, send);
    for (const { topic, partition, records: count } of send.parts) {
      const part = `${topic}[${partition}]`;
      const answer = answers.find((entry) => entry.topicName === topic && entry.partition === partition);
      const baseOffset = BigInt(answer?.baseOffset ?? -1);
      if (baseOffset < 0n) throw new KafkaAwayError(`${part} did not confirm its ${count} records`);
      const first = sentTo.get(part) ?? { topic, partition, baseOffset, nextOffset: baseOffset };
      if (baseOffset !== first.nextOffset) {
        const jump = `${part} went on at offset ${baseOffset} instead of ${first.nextOffset} within one transaction`;
        throw new KafkaAwayError(`${jump}: something else writes to it, or it was recreated`);
      }
      sentTo.set(part, { ...first, nextOffset: baseOffset + BigInt(count) });
    }
  }
  return [...sentTo.values()].map(({ topic, partition, baseOffset }) => ({ topic, partition, baseOffset }));
}

async function sendOnce(transaction: Transaction, send: Send): ReturnType<Transaction['sendBatch']> {
  try {
    return await transaction.sendBatch({ acks: -1, topicMessages: [...send.topicMessages] });
  } catch (error) {
    const type = kafkaErrorType(error);
    if (type !== 'MESSAGE_TOO_LARGE' && type !== 'RECORD_LIST_TOO_LARGE') throw error;
    const topics = send.topicMessages.map(({ topic }) => topic);
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
