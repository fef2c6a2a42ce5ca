// The reader's configuration: every variable with its default and bounds, read once into one frozen object.
import { tmpdir } from 'node:os';
import { kafkaOf, kafkaVariables } from '#kafka/variables.ts';
import { checkpointTopicName } from '#schemas/resource-names.ts';
import { authVariables, operatorAuthOf } from '#service/auth/variables.ts';
import {
  ConfigurationError,
  choice,
  commonVariables,
  integer,
  matching,
  optional,
  port,
  readEnvironment,
  text,
  topic,
  topicVariables,
} from '#service/environment.ts';
import { operationsAccessOf, operationsVariables } from '#service/http/operations-access.ts';
import { httpUrls } from '#service/http/variables.ts';
import { orderDatabaseOf, orderTlsVariables, postgresUrl } from '#service/postgres/variables.ts';
import { tracingVariables } from '#service/tracing/variables.ts';

const INT32_MAX = 2_147_483_647;

export const cdcReaderVariables = {
  host: commonVariables.host,
  allowedHosts: commonVariables.allowedHosts,
  commit: commonVariables.commit,
  logLevel: commonVariables.logLevel,
  shutdownDelayMs: commonVariables.shutdownDelayMs,
  ...tracingVariables,
  ...kafkaVariables,
  ...topicVariables,
  port: port('PORT', 'Port of health and metrics', '3002'),
  orderDatabaseUrl: postgresUrl('ORDER_DATABASE_URL', 'The orders database; its user needs REPLICATION and SELECT'),
  ...orderTlsVariables,
  checkpointTopic: optional(
    topic('CHECKPOINT_TOPIC', 'Topic of the checkpoint (default: cdc.checkpoints. + SLOT_NAME)'),
  ),
  slotName: matching('SLOT_NAME', 'Logical replication slot', {
    form: /^[a-z0-9_]{1,56}$/, // Postgres allows 63, and the replay window's slot is named after it
    expected: '1 to 56 characters of a-z 0-9 _',
    fallback: 'tillstream',
  }),
  publicationName: text('PUBLICATION_NAME', 'Publication of orders and order_items', 'tillstream'),
  topicPartitions: integer('TOPIC_PARTITIONS', 'Partitions of a topic that the reader creates', {
    min: 1,
    max: 10_000,
    fallback: '6',
  }),
  topicReplication: optional(
    integer(
      'TOPIC_REPLICATION',
      'Replicas of a topic that the reader creates (default: 3, or as many as there are brokers)',
      {
        min: 1,
        max: 32_767,
      },
    ),
  ),
  topicMinInsyncReplicas: optional(
    integer('TOPIC_MIN_INSYNC_REPLICAS', 'min.insync.replicas of such a topic (default: replication - 1, at least 1)', {
      min: 1,
      max: 32_767,
    }),
  ),
  topicRetentionMs: integer('TOPIC_RETENTION_MS', 'Retention of live and replay topic; -1 keeps everything', {
    min: -1,
    max: Number.MAX_SAFE_INTEGER,
    fallback: '-1',
  }),
  walSenderTimeoutMs: integer(
    'WAL_SENDER_TIMEOUT_MS',
    'After this silence Postgres frees the slot for a standby reader',
    {
      min: 1_000,
      max: INT32_MAX,
      fallback: '10000',
    },
  ),
  transactionTimeoutMs: integer(
    'TRANSACTION_TIMEOUT_MS',
    "Kafka aborts a transaction after this; at most the broker's transaction.max.timeout.ms",
    {
      min: 1_000,
      max: INT32_MAX,
      fallback: '60000',
    },
  ),
  idleCheckpointMs: integer(
    'IDLE_CHECKPOINT_MS',
    'How often progress without orders is recorded, so that WAL can be freed',
    {
      min: 100,
      max: INT32_MAX,
      fallback: '10000',
    },
  ),
  groupMaxOrders: integer(
    'GROUP_MAX_ORDERS',
    'Orders in one Kafka transaction, unless one database transaction has more',
    {
      min: 1,
      max: 100_000,
      fallback: '2000',
    },
  ),
  groupMaxBytes: integer('GROUP_MAX_BYTES', 'Event bytes in one Kafka transaction, likewise', {
    min: 1_024,
    max: 67_108_864,
    fallback: '4194304',
  }),
  compression: choice(
    'COMPRESSION',
    'How the reader compresses what it publishes: none or gzip',
    ['none', 'gzip'],
    'none',
  ),
  replayWindowBytes: integer('REPLAY_WINDOW_BYTES', 'WAL kept for replays from WAL, at most; 0 keeps none', {
    min: 0,
    max: Number.MAX_SAFE_INTEGER,
    fallback: '1073741824',
  }),
  replayWindowMs: integer('REPLAY_WINDOW_MS', 'It is kept for about this long, at most', {
    min: 1_000,
    max: Number.MAX_SAFE_INTEGER,
    fallback: '86400000',
  }),
  spillBytes: integer('SPILL_BYTES', 'Rows of one database transaction beyond this go to a temporary file', {
    min: 1_024,
    max: 1_073_741_824,
    fallback: '4194304',
  }),
  spillDirectory: text('SPILL_DIRECTORY', 'Where that file is made', tmpdir()),
  cdcReaderOperationsUrls: optional(
    httpUrls(
      'CDC_READER_OPERATIONS_URLS',
      'Where the other readers have theirs: whether one stands by, for the console',
    ),
  ),
  orderApiOperationsUrl: optional(
    httpUrls('ORDER_API_OPERATIONS_URL', 'Where the order-apis have their health and metrics, for the console'),
  ),
  cartSinkOperationsUrls: optional(
    httpUrls(
      'CART_SINK_OPERATIONS_URLS',
      'Where sinks have their health and metrics, to find what the carts have of an order',
    ),
  ),
  ...operationsVariables,
  ...authVariables,
};

export type CdcReaderConfig = ReturnType<typeof readCdcReaderConfig>;

/** @throws ConfigurationError listing all problems */
export function readCdcReaderConfig(env: Readonly<Record<string, string | undefined>>) {
  const values = readEnvironment(cdcReaderVariables, env);
  const { replayWindowBytes, replayWindowMs, ...rest } = values;
  const problems: string[] = [];
  const tokenRules = operatorAuthOf(values, problems);
  if (problems.length > 0) throw new ConfigurationError(problems);
  return Object.freeze({
    ...rest,
    orderDatabase: orderDatabaseOf(values),
    kafka: kafkaOf(values),
    operationsAccess: operationsAccessOf(values),
    /** Of operators; undefined with AUTH=none. */
    tokenRules,
    /** Of the window slot; 0 bytes: there is none. */
    replayWindow: Object.freeze({ bytes: replayWindowBytes, ms: replayWindowMs }),
    checkpointTopic: values.checkpointTopic ?? checkpointTopicName(values.slotName),
    /** Fencing works by this name: one for each slot, whoever runs the reader. */
    transactionalId: `tillstream.cdc-reader.${values.slotName}`,
    /** As Postgres's pg_stat_replication and Kafka's broker logs show the reader. */
    applicationName: `tillstream-cdc-reader-${values.slotName}`,
  });
}
