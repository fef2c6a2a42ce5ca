// The one way to a kafkajs client. Guarantees: kafkajs's patches are installed, nothing retries with kafkajs's slow
// defaults, and kafkajs's log lines reach pino at a fitting level (its retries are not our errors). Which errors matter is
// left to callers: every one that does is also thrown.

import { Kafka, type logCreator, logLevel, type RetryOptions } from 'kafkajs';
import { installKafkajsPatches } from '#kafka/protocol/patches.ts';
import type { KafkaServers } from '#kafka/servers.ts';
import type { Logger } from '#service/logger.ts';
import { type Connections, createConnections } from './connections.ts';

/**
 * A transaction right after another waits for one retry, since Kafka answers CONCURRENT_TRANSACTIONS until the earlier
 * one's commit markers are written, a few milliseconds; kafkajs's default would wait 300 ms. About 15 s in all, which
 * outlasts the election of a new leader.
 */
export const QUICK_RETRY: RetryOptions = {
  initialRetryTime: 4,
  multiplier: 2,
  factor: 0.2,
  maxRetryTime: 500,
  retries: 35,
};

export const CONNECT_TIMEOUT_MS = 3_000;
const REQUEST_TIMEOUT_MS = 30_000;

/** Creates a kafkajs client. `retry` defaults to {@link QUICK_RETRY}. Pass `connections` to be able to cut them. */
export function createKafkaClient(options: {
  kafka: KafkaServers;
  clientId: string;
  logger: Logger;
  retry?: RetryOptions;
  connections?: Connections;
}): Kafka {
  installKafkajsPatches();
  const { connections = createConnections(options.kafka) } = options;
  return new Kafka({
    brokers: connections.brokers,
    socketFactory: connections.socketFactory,
    ...connections.login,
    clientId: options.clientId,
    connectionTimeout: CONNECT_TIMEOUT_MS,
    requestTimeout: REQUEST_TIMEOUT_MS,
    retry: options.retry ?? QUICK_RETRY,
    logLevel: kafkaLogLevel(options.logger),
    logCreator: createKafkaLogCreator(options.logger),
  });
}

/** kafkajs's own threshold: its debug lines, a few for each request, are only built when trace is on. */
export function kafkaLogLevel(logger: Logger): logLevel {
  return logger.isLevelEnabled('trace') ? logLevel.DEBUG : logLevel.INFO;
}

/** Passes kafkajs's log lines to pino: each one level lower than kafkajs has it, and its retries as debug. */
export function createKafkaLogCreator(logger: Logger): logCreator {
  return () =>
    ({ namespace, level, log }) => {
      const { message, timestamp: _timestamp, logger: _logger, stack: _stack, ...details } = log;
      // kafkajs warns about every producer without a partitioner of its own; ours all name the partition.
      if (message.startsWith('KafkaJS v2.0.0 switched default partitioner')) return;
      const line = { event: 'kafka.client', namespace, ...details };
      if (level === logLevel.DEBUG) logger.trace(line, message);
      else if (level === logLevel.INFO || isExpected(namespace, details)) logger.debug(line, message);
      else logger.warn(line, message);
    };
}

/** A broken connection or a retry: the caller gets an exception if it does not succeed. */
function isExpected(namespace: string, details: Record<string, unknown>): boolean {
  return 'retryCount' in details || ['Connection', 'BrokerPool', 'RequestQueue', 'Cluster'].includes(namespace);
}
