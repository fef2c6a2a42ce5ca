// What the commands read from the environment: the variables of the services that they work between, under the same names
// and with the same defaults, so that the environment of the pipeline is the environment of its tools.
import { kafkaOf, kafkaVariables } from '#kafka/variables.ts';
import { checkpointTopicName } from '#schemas/resource-names.ts';
import { ConfigurationError, logLevel, optional, readEnvironment } from '#service/environment.ts';
import { operationsAccessOf, operationsVariables } from '#service/http/operations-access.ts';
import { httpUrls } from '#service/http/variables.ts';
import {
  type CartDatabaseValues,
  cartDatabaseOf,
  cartDatabaseVariables,
  givenDatabasesOf,
  type OrderDatabaseValues,
  orderDatabaseOf,
  orderDatabaseVariables,
} from '#service/postgres/variables.ts';
import { cartSinkVariables } from '../cart-sink/config.ts';
import { cdcReaderVariables } from '../cdc-reader/config.ts';
import { listServices } from '../cdc-reader/status/read-service.ts';

type Env = Readonly<Record<string, string | undefined>>;

const sinkSide = {
  ...cartDatabaseVariables,
  ...kafkaVariables,
  ordersTopic: cartSinkVariables.ordersTopic,
  replayTopic: cartSinkVariables.replayTopic,
  consumerGroup: cartSinkVariables.consumerGroup,
  maxExpandedBatchBytes: cartSinkVariables.maxExpandedBatchBytes,
};

const cartSide = {
  ...cartDatabaseVariables,
  ordersTopic: cartSinkVariables.ordersTopic,
};

const bothSides = {
  ...sinkSide,
  ...orderDatabaseVariables,
  checkpointTopic: cdcReaderVariables.checkpointTopic,
  slotName: cdcReaderVariables.slotName,
  publicationName: cdcReaderVariables.publicationName,
};

const replayVariables = {
  ...bothSides,
  transactionTimeoutMs: cdcReaderVariables.transactionTimeoutMs,
  walSenderTimeoutMs: cdcReaderVariables.walSenderTimeoutMs,
  spillBytes: cdcReaderVariables.spillBytes,
  spillDirectory: cdcReaderVariables.spillDirectory,
  // Standard output has the report; what the clients log there is for finding faults.
  logLevel: logLevel('TOOLS_LOG_LEVEL', 'Least severe level that the tools log, on standard output', 'fatal'),
};

export type AdoptSinkConfig = ReturnType<typeof readAdoptSinkConfig>;
export type AuditConfig = ReturnType<typeof readAuditConfig>;
export type ReplayConfig = ReturnType<typeof readReplayConfig>;

/** @throws ConfigurationError listing all problems */
export function readAdoptSinkConfig(env: Env) {
  const values = readEnvironment(sinkSide, env);
  return { ...withCarts(values), kafka: kafkaOf(values) };
}

/** @throws ConfigurationError listing all problems */
export function readParkedConfig(env: Env) {
  return withCarts(readEnvironment(cartSide, env));
}

/** Of audit and find. @throws ConfigurationError listing all problems */
export function readAuditConfig(env: Env) {
  return withBothSides(readEnvironment(bothSides, env));
}

/** @throws ConfigurationError listing all problems */
export function readReplayConfig(env: Env) {
  const values = readEnvironment(replayVariables, env);
  if (values.ordersTopic === values.replayTopic) {
    throw new ConfigurationError([`REPLAY_TOPIC must not be the live topic, ${values.ordersTopic}`]);
  }
  return {
    ...withBothSides(values),
    /** Fences whichever process published to this topic before: one run at a time. */
    transactionalId: `tillstream.replay.${values.replayTopic}`,
    applicationName: `tillstream-replay-${values.slotName}`,
  };
}

/** Adopt needs the carts database for some halts of the reader only. @throws ConfigurationError */
export function readOptionalCartDatabase(env: Env) {
  const variables = { ...cartDatabaseVariables, cartDatabaseUrl: optional(cartDatabaseVariables.cartDatabaseUrl) };
  return givenDatabasesOf(readEnvironment(variables, env)).cartDatabase;
}

function withCarts<V extends CartDatabaseValues>(values: V) {
  return { ...values, cartDatabase: cartDatabaseOf(values) };
}

type BothSides = CartDatabaseValues &
  OrderDatabaseValues &
  Parameters<typeof kafkaOf>[0] & { readonly checkpointTopic: string | undefined; readonly slotName: string };

function withBothSides<V extends BothSides>(values: V) {
  return {
    ...withCarts(values),
    orderDatabase: orderDatabaseOf(values),
    kafka: kafkaOf(values),
    checkpointTopic: values.checkpointTopic ?? checkpointTopicName(values.slotName),
  };
}

const statusVariables = {
  cdcReaderOperationsUrls: {
    ...httpUrls('CDC_READER_OPERATIONS_URLS', 'Where the readers have their health and metrics'),
    fallback: 'http://127.0.0.1:3002',
  },
  orderApiOperationsUrl: {
    ...httpUrls('ORDER_API_OPERATIONS_URL', 'Where the order-apis have theirs'),
    fallback: 'http://127.0.0.1:3001',
  },
  cartSinkOperationsUrls: {
    ...httpUrls('CART_SINK_OPERATIONS_URLS', 'Where the sinks have theirs'),
    fallback: 'http://127.0.0.1:3003',
  },
  ...operationsVariables,
};

/** Which services `npm run status` asks. @throws ConfigurationError listing all problems */
export function readStatusConfig(env: Env) {
  const values = readEnvironment(statusVariables, env);
  return {
    services: listServices(values),
    access: operationsAccessOf(values),
  };
}
