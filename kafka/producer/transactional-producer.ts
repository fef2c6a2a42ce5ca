// The one way to publish. Guarantees: what a transaction sent becomes visible with its commit, all of it or nothing (I5);
// a send that resolves was stored by every in-sync replica of every partition, in order and once (I4); earlier owners of
// the transactional id are fenced before the producer exists. One transaction at a time, one send in flight. After any
// error it is unusable: the caller closes it, creates another, and finds out from the topics whether the last commit took
// effect. Not kafkajs's producer, which loses and duplicates records when a leader moves (ARCHITECTURE.md).

import {
  KafkaUnavailableError,
  kafkaErrorType,
  ProducerFencedError,
  PublishOutcomeUnknownError,
  RecordTooLargeError,
} from '#kafka/errors.ts';
import { createKafkaCluster } from '#kafka/protocol/cluster.ts';
import type { Compression } from '#kafka/protocol/produce-request.ts';
import type { OutgoingRecord } from '#kafka/protocol/record.ts';
import type { KafkaServers } from '#kafka/servers.ts';
import { withDeadline } from '#service/deadline.ts';
import type { Logger } from '#service/logger.ts';
import { type Send, type SendBounds, splitSends } from './split-sends.ts';
import { TransactionClient } from './transaction-client.ts';

export type { OutgoingRecord };

/** The offset of this send's first record in one partition; the others follow it without a gap. */
export interface SentTo {
  readonly topic: string;
  readonly partition: number;
  readonly baseOffset: bigint;
}

export interface TransactionalProducer {
  /** By which Kafka's tools name it; the same for every owner of the transactional id, unless Kafka has forgotten that. */
  readonly producerId: bigint;
  /** Begins a transaction; the previous one must have ended. Costs no round trip. */
  begin(): Promise<KafkaTransaction>;
  /** Cuts the connections at once; an open transaction is aborted when the next owner fences it, or by its timeout. */
  close(): Promise<void>;
}

export interface KafkaTransaction {
  /**
   * Sends `records`; their order in each partition is kept. Resolves once all are stored, with one entry per partition.
   * Throws {@link ProducerFencedError}, {@link RecordTooLargeError}, else `KafkaUnavailableError`.
   */
  send(records: readonly OutgoingRecord[]): Promise<readonly SentTo[]>;
  /** Throws {@link ProducerFencedError} if it took no effect, {@link PublishOutcomeUnknownError} if that is unknown. */
  commit(): Promise<void>;
  abort(): Promise<void>;
}

/** One batch per partition, within Kafka's default max.message.bytes of 1,048,588; 8 MB are encoded within 10 ms. */
const DEFAULT_BOUNDS: SendBounds = { partitionBytes: 900_000, sendBytes: 8 * 1024 * 1024 };

/**
 * Creates the producer. Resolves once it owns the transactional id: every earlier owner is fenced and its open transaction
 * aborted. `transactionTimeoutMs` is how long Kafka lets a transaction stay open, `requestTimeoutMs` how long one operation
 * may take, retries included. Throws `KafkaUnavailableError`, {@link ProducerFencedError}.
 */
export async function createTransactionalProducer(options: {
  kafka: KafkaServers;
  clientId: string;
  transactionalId: string;
  transactionTimeoutMs: number;
  requestTimeoutMs: number;
  logger: Logger;
  /** `none` by default. */
  compression?: Compression;
  bounds?: Partial<SendBounds>;
}): Promise<TransactionalProducer> {
  const { transactionalId, transactionTimeoutMs, requestTimeoutMs } = options;
  const bounds = { ...DEFAULT_BOUNDS, ...options.bounds };
  const late = (what: string) => () =>
    new KafkaUnavailableError(`The ${what} got no response within ${requestTimeoutMs} ms`);
  const cluster = await createKafkaCluster(options);
  let state: 'ready' | 'open' | 'busy' | 'unusable' = 'ready';
  const client = new TransactionClient({
    cluster,
    transactionalId,
    transactionTimeoutMs,
    produceTimeoutMs: requestTimeoutMs,
    compression: options.compression ?? 'none',
    isClosed: () => state === 'unusable',
  });

  /** Runs one operation, alone and within its deadline; any failure makes the producer unusable and cuts its connections. */
  async function run<T>(
    from: 'ready' | 'open',
    to: 'ready' | 'open',
    what: string,
    work: () => Promise<T>,
  ): Promise<T> {
    if (state === 'unusable')
      throw new KafkaUnavailableError(`The ${what} was refused: this producer has failed before or is closed`);
    if (state !== from)
      throw new Error(
        `The ${what} was called while the producer is ${state}; operations run one at a time. This is a bug.`,
      );
    state = 'busy';
    try {
      const result = await withDeadline(work(), requestTimeoutMs, late(what));
      state = to;
      return result;
    } catch (error) {
      await close();
      throw classifyError(error, transactionalId, what);
    }
  }
  const close = async (): Promise<void> => {
    state = 'unusable';
    await cluster.close();
  };

  const producerId = await run('ready', 'ready', 'initialisation', () => client.initProducer());
  return {
    producerId,
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
        throw new KafkaUnavailableError(
          `Produce returned base offset ${baseOffset} for ${name}, expected ${first.nextOffset}, within one transaction`,
          undefined,
          'Either another producer writes to this topic: stop it. Or the topic was recreated.',
        );
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

const FENCED_TYPES = ['INVALID_PRODUCER_EPOCH', 'PRODUCER_FENCED', 'INVALID_PRODUCER_ID_MAPPING'];

function classifyError(error: unknown, transactionalId: string, what: string): Error {
  const type = kafkaErrorType(error);
  if (error instanceof RecordTooLargeError) return error;
  if (type !== undefined && FENCED_TYPES.includes(type))
    return new ProducerFencedError(transactionalId, { cause: error });
  if (what === 'commit') return new PublishOutcomeUnknownError(transactionalId, { cause: error });
  if (error instanceof KafkaUnavailableError) return error;
  return new KafkaUnavailableError(`The ${what} failed`, { cause: error });
}
