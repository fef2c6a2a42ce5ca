// The one way to a kafkajs client. Guarantees: kafkajs's words arrive in pino at a level that fits (its retries are
// not our errors), kafkajs's patches are in place, nothing retries with kafkajs's slow defaults, and a client can be
// cut off at once (kafkajs's own disconnect waits for answers that may never come). Which errors matter is for callers:
// every one that does is also thrown.

import { connect, type Socket } from 'node:net';
import { type ISocketFactory, Kafka, type logCreator, logLevel, type RetryOptions } from 'kafkajs';
import { installKafkajsPatches } from '#service/kafka-patches.ts';
import type { Logger } from '#service/logger.ts';

/**
 * kafkajs's default of 300 ms for the first retry is what a transaction right after another would cost, since Kafka
 * answers CONCURRENT_TRANSACTIONS until the earlier one's markers are written, a few milliseconds (trap 9). About 15 s
 * in all, which outlasts the election of a new leader.
 */
export const quickRetry: RetryOptions = {
  initialRetryTime: 4,
  multiplier: 2,
  factor: 0.2,
  maxRetryTime: 500,
  retries: 35,
};

/** The connections of one client, which can be cut all at once. */
export interface Connections {
  readonly brokers: () => string[];
  readonly socketFactory: ISocketFactory;
  /** Cuts every connection; pending requests reject, later ones connect anew. */
  cut(): void;
  /** Cuts every connection for good; pending requests reject, later ones find no broker, so that no retry goes on. */
  close(): void;
}

/** Creates the {@link Connections} to `brokers` (`host:port`). */
export function createConnections(brokers: readonly string[]): Connections {
  const open = new Set<Socket>();
  let closed = false;
  // kafkajs learns of the end from 'error', not from 'close'.
  const cut = (): void => {
    for (const socket of open) socket.destroy(new Error('this connection was cut'));
  };
  return {
    cut,
    // An empty list is the only answer that kafkajs takes for final.
    brokers: () => (closed ? [] : [...brokers]),
    socketFactory: ({ host, port, onConnect }) => {
      if (closed) throw new Error('this client is closed');
      const socket = connect({ host, port, noDelay: true, keepAlive: true, keepAliveInitialDelay: 10_000 }, onConnect);
      open.add(socket);
      socket.once('close', () => open.delete(socket));
      return socket;
    },
    close() {
      closed = true;
      cut();
    },
  };
}

/**
 * Creates a kafkajs client. `retry` defaults to {@link quickRetry}; `requestTimeoutMs` (30,000) bounds one request,
 * `connectTimeoutMs` (3,000) one connection. Give `connections` to be able to cut it off.
 */
export function createKafkaClient(options: {
  brokers: readonly string[];
  clientId: string;
  logger: Logger;
  retry?: RetryOptions;
  requestTimeoutMs?: number;
  connectTimeoutMs?: number;
  connections?: Connections;
}): Kafka {
  installKafkajsPatches();
  const { connections = createConnections(options.brokers) } = options;
  return new Kafka({
    brokers: connections.brokers,
    socketFactory: connections.socketFactory,
    clientId: options.clientId,
    connectionTimeout: options.connectTimeoutMs ?? 3_000,
    requestTimeout: options.requestTimeoutMs ?? 30_000,
    retry: options.retry ?? quickRetry,
    logLevel: kafkaLogLevel(options.logger),
    logCreator: createKafkaLogCreator(options.logger),
  });
}

/** kafkajs's own threshold: its debug lines, a few for each request, are only built when someone traces. */
export function kafkaLogLevel(logger: Logger): logLevel {
  return logger.isLevelEnabled('trace') ? logLevel.DEBUG : logLevel.INFO;
}

/** Takes kafkajs's log lines to pino: each one level lower than kafkajs says, and its retries as debug. */
export function createKafkaLogCreator(logger: Logger): logCreator {
  return () =>
    ({ namespace, level, log }) => {
      const { message, timestamp: _timestamp, logger: _logger, stack: _stack, ...details } = log;
      // Every producer created without a partitioner of its own is told so; ours all name the partition.
      if (message.startsWith('KafkaJS v2.0.0 switched default partitioner')) return;
      const line = { event: 'kafka.client', namespace, ...details };
      if (level === logLevel.DEBUG) logger.trace(line, message);
      else if (level === logLevel.INFO || isExpected(namespace, details)) logger.debug(line, message);
      else logger.warn(line, message);
    };
}

/** A broken connection or a retry: whoever waits for it gets an exception if it does not work out. */
function isExpected(namespace: string, details: Record<string, unknown>): boolean {
  return 'retryCount' in details || ['Connection', 'BrokerPool', 'RequestQueue', 'Cluster'].includes(namespace);
}

/** Returns the partition of a user among `partitions`: that of Kafka's Java clients for the same key as UTF-8 text. */
export function orderPartition(userId: string, partitions: number): number {
  return (murmur2(Buffer.from(userId, 'utf8')) & 0x7fffffff) % partitions;
}

/** Kafka's murmur2 as a signed 32-bit number. */
export function murmur2(data: Buffer): number {
  const m = 0x5bd1e995;
  const tail = data.length & ~3;
  let hash = 0x9747b28c ^ data.length;
  for (let index = 0; index < tail; index += 4) {
    let word = Math.imul(data.readInt32LE(index), m);
    word = Math.imul(word ^ (word >>> 24), m);
    hash = Math.imul(hash, m) ^ word;
  }
  if (data.length > tail) {
    for (let index = data.length - 1; index >= tail; index -= 1) hash ^= data[index]! << (8 * (index - tail));
    hash = Math.imul(hash, m);
  }
  hash = Math.imul(hash ^ (hash >>> 13), m);
  return hash ^ (hash >>> 15);
}
