/**
 * The configuration of the cart sink: one frozen object, read once.
 *
 * Derived limits are here too, because they only make sense together: a database session must give up its locks before
 * the group assigns the partition to a successor, or a stopped owner would block the successor for ever.
 */
import { kafkaOf, kafkaVariables } from '#kafka/variables.ts';
import {
  ConfigurationError,
  commonVariables,
  integer,
  port,
  readEnvironment,
  text,
  topicVariables,
} from '#service/environment.ts';
import { apiOf, apiVariables, operationsOnly } from '#service/http/variables.ts';
import { cartDatabaseOf, cartDatabaseVariables } from '#service/postgres/variables.ts';
import { tracingVariables } from '#service/tracing/variables.ts';
import type { Parts } from './parts.ts';

export const cartSinkVariables = {
  ...commonVariables,
  ...tracingVariables,
  ...kafkaVariables,
  ...topicVariables,
  port: port('PORT', 'Port to listen on', '3003'),
  ...apiVariables,
  ...cartDatabaseVariables,
  consumerGroup: text('CONSUMER_GROUP', 'Consumer group; a new one consumes the topics from their start', 'cart-sink'),
  sessionTimeoutMs: integer(
    'SESSION_TIMEOUT_MS',
    'Milliseconds without a heartbeat after which Kafka assigns the partitions of a sink to others; the broker sets limits (6,000 and more by default)',
    { min: 2_000, max: 300_000, fallback: '10000' },
  ),
  cartPoolSize: integer('CART_POOL_SIZE', 'Database connections of the cart API', { min: 1, max: 100, fallback: '10' }),
  sinkConcurrency: integer(
    'SINK_CONCURRENCY',
    'Database transactions at a time; each has a connection, and so has each of as many batches tried alone',
    { min: 1, max: 32, fallback: '2' },
  ),
  batchMaxRecords: integer('BATCH_MAX_RECORDS', 'Maximum number of records applied in one database transaction', {
    min: 1,
    max: 10_000,
    fallback: '1000',
  }),
  batchMaxBytes: integer('BATCH_MAX_BYTES', 'Maximum number of bytes of records applied in one database transaction', {
    min: 1_024,
    max: 64 * 1024 * 1024,
    fallback: String(2 * 1024 * 1024),
  }),
  fetchMaxWaitMs: integer(
    'FETCH_MAX_WAIT_MS',
    'Maximum time in milliseconds that a fetch waits at the broker for the first record; a rebalance may take that much longer',
    { min: 10, max: 500, fallback: '250' },
  ),
  lagIntervalMs: integer(
    'LAG_INTERVAL_MS',
    'Milliseconds between two measurements of the lag; each also checks the ends of the topics and the stored offsets',
    {
      min: 100,
      max: 60_000,
      fallback: '5000',
    },
  ),
};

export type CartSinkConfig = ReturnType<typeof readCartSinkConfig>;

/**
 * Without the API there is nobody to authenticate: who may call is not asked for, wherever the process listens.
 * @throws ConfigurationError listing all problems
 */
export function readCartSinkConfig(
  env: Readonly<Record<string, string | undefined>>,
  { api }: Pick<Parts, 'api'> = { api: true },
) {
  const config = readEnvironment(cartSinkVariables, env);
  if (config.ordersTopic === config.replayTopic) {
    throw new ConfigurationError([`REPLAY_TOPIC must not be the live topic, ${config.ordersTopic}`]);
  }
  const { sessionTimeoutMs } = config;
  return Object.freeze({
    ...config,
    ...(api ? apiOf(config) : operationsOnly(config)),
    cartDatabase: cartDatabaseOf(config),
    kafka: kafkaOf(config),
    /** Three heartbeats a session, as Kafka's own clients send: two may be lost. */
    heartbeatIntervalMs: Math.floor(sessionTimeoutMs * 0.3),
    /** Postgres ends the session of a stopped owner before the successor, one Kafka session later, needs the row. */
    idleInTransactionTimeoutMs: Math.floor(sessionTimeoutMs * 0.5),
    lockTimeoutMs: Math.floor(sessionTimeoutMs * 0.5),
    statementTimeoutMs: Math.floor(sessionTimeoutMs * 0.7),
  });
}
