// What `npm start` runs, decided from the environment before anything is started: which servers are its own and which
// are given, and every port. Guarantees that all problems are reported at once, those
// that a service would only find in its own environment included. Starting things is left to local-servers.ts and
// supervised-service.ts, the environment of each service to service-environment.ts.

import { resolve } from 'node:path';
import { brokers, ConfigurationError, integer, optional, readEnvironment, text } from '#service/environment.ts';
import type { DatabaseServer } from '#service/postgres/database-server.ts';
import { cartTlsVariables, givenDatabasesOf, orderTlsVariables, postgresUrl } from '#service/postgres/variables.ts';
import type { Secret } from '#service/security/secret.ts';
import { cartSinkVariables, readCartSinkConfig } from '../../cart-sink/config.ts';
import { cdcReaderVariables, readCdcReaderConfig } from '../../cdc-reader/config.ts';
import { orderApiVariables, readOrderApiConfig } from '../../order-api/config.ts';
import {
  type DatabaseVariable,
  openOnLoopback,
  type ServiceName,
  type ServicePlan,
  type StackConnections,
} from './service-environment.ts';

const openPort = (name: string, description: string, fallback: string) =>
  integer(name, description, { min: 1, max: 65_535, fallback });

// The servers' ports are uncommon ones, so that a Postgres or Kafka that is there already is in nobody's way.
export const stackVariables = {
  home: text('TILLSTREAM_HOME', 'Folder of the data and the logs', '.tillstream'),
  orderApiPort: openPort('ORDER_API_PORT', 'Port of order-api', '3001'),
  cdcReaderPort: openPort('CDC_READER_PORT', 'Port of cdc-reader', '3002'),
  cartSinkPort: openPort('CART_SINK_PORT', 'Port of cart-sink', '3003'),
  orderPostgresPort: openPort('ORDER_POSTGRES_PORT', 'Port of the Postgres that it starts for orders', '25431'),
  cartPostgresPort: openPort('CART_POSTGRES_PORT', 'Port of the Postgres that it starts for carts', '25432'),
  kafkaPort: openPort('KAFKA_PORT', 'Port of the Kafka that it starts', '29092'),
  orderDatabaseUrl: optional(postgresUrl('ORDER_DATABASE_URL', 'An orders database to use instead of starting one')),
  ...orderTlsVariables,
  cartDatabaseUrl: optional(postgresUrl('CART_DATABASE_URL', 'A carts database to use instead of starting one')),
  ...cartTlsVariables,
  kafkaBrokers: optional(
    brokers('KAFKA_BROKERS', 'A Kafka to use instead of starting one: comma-separated host:port pairs'),
  ),
};

/** A port that must be free, what for, and the variable that moves it. */
type WantedPort = { readonly port: number; readonly what: string; readonly variable: string };

export type StackConfig = StackConnections & {
  /** Absolute. */
  readonly home: string;
  readonly services: readonly ServicePlan[];
  /** The port of each server that `npm start` runs itself; undefined where one is given. */
  readonly own: {
    readonly orderPostgresPort: number | undefined;
    readonly cartPostgresPort: number | undefined;
    readonly kafkaPort: number | undefined;
  };
  readonly publicationName: string;
  /** The databases that are given. */
  readonly given: Readonly<Record<'orderDatabase' | 'cartDatabase', DatabaseServer | undefined>>;
  /** What else was set of the services' variables, and reaches them as it is. */
  readonly passedOn: Readonly<Record<string, string>>;
  readonly wantedPorts: readonly WantedPort[];
};

/**
 * Decides what to run. A relative TILLSTREAM_HOME is taken from `repository`.
 * @throws ConfigurationError listing all problems, the services' included
 */
export function readStackConfig(env: Readonly<Record<string, string | undefined>>, repository: string): StackConfig {
  const serviceProblems = findServiceProblems(env);
  const values = readStackVariables(env, serviceProblems);
  const own = {
    orderPostgresPort: values.orderDatabaseUrl === undefined ? values.orderPostgresPort : undefined,
    cartPostgresPort: values.cartDatabaseUrl === undefined ? values.cartPostgresPort : undefined,
    kafkaPort: values.kafkaBrokers === undefined ? values.kafkaPort : undefined,
  };
  const ownDatabases = {
    ...ownDatabase('ORDER_DATABASE_URL', own.orderPostgresPort, 'orders'),
    ...ownDatabase('CART_DATABASE_URL', own.cartPostgresPort, 'carts'),
  };
  const connections = {
    ...givenDatabase('ORDER_DATABASE_URL', values.orderDatabaseUrl),
    ...givenDatabase('CART_DATABASE_URL', values.cartDatabaseUrl),
    ...ownDatabases,
    KAFKA_BROKERS: values.kafkaBrokers?.join(',') ?? `127.0.0.1:${values.kafkaPort}`,
  };
  const plan = (name: ServiceName, port: number): ServicePlan => ({ name, port, url: `http://127.0.0.1:${port}` });
  const services = [
    plan('order-api', values.orderApiPort),
    plan('cdc-reader', values.cdcReaderPort),
    plan('cart-sink', values.cartSinkPort),
  ];
  const wantedPorts = findWantedPorts(services, own);
  const problems = [...findSharedPorts(wantedPorts), ...serviceProblems];
  if (problems.length > 0) throw new ConfigurationError(problems);
  return {
    home: resolve(repository, values.home),
    services,
    own,
    connections,
    ownDatabases,
    publicationName: values.publicationName,
    given: givenDatabasesOf(values),
    passedOn: findPassedOn(env),
    wantedPorts,
  };
}

function ownDatabase(name: DatabaseVariable, port: number | undefined, database: string) {
  return port === undefined ? {} : { [name]: `postgres://postgres@127.0.0.1:${port}/${database}` };
}

function givenDatabase(name: DatabaseVariable, given: Secret | undefined) {
  return given?.name === name ? { [name]: given.read() } : {};
}

function findPassedOn(env: Readonly<Record<string, string | undefined>>): Record<string, string> {
  const decided = [
    ...['HOST', 'PORT', 'ORDER_DATABASE_URL', 'CART_DATABASE_URL', 'KAFKA_BROKERS'],
    ...Object.keys(openOnLoopback),
  ];
  const names = [orderApiVariables, cdcReaderVariables, cartSinkVariables]
    .flatMap((variables) => Object.values(variables))
    .map(({ name }) => name);
  const passed = [...new Set(names.flatMap((name) => [name, `${name}_FILE`]))].filter(
    (name) => env[name] && !decided.includes(name),
  );
  return Object.fromEntries(passed.map((name) => [name, env[name]!]));
}

function findWantedPorts(services: readonly ServicePlan[], own: StackConfig['own']): readonly WantedPort[] {
  const servers = [
    { port: own.orderPostgresPort, what: 'Postgres for orders', variable: 'ORDER_POSTGRES_PORT' },
    { port: own.cartPostgresPort, what: 'Postgres for carts', variable: 'CART_POSTGRES_PORT' },
    { port: own.kafkaPort, what: 'Kafka', variable: 'KAFKA_PORT' },
  ];
  return [
    ...services.map(({ name, port }) => ({
      port,
      what: name,
      variable: `${name.toUpperCase().replace('-', '_')}_PORT`,
    })),
    ...servers.flatMap(({ port, ...rest }) => (port === undefined ? [] : [{ port, ...rest }])),
  ];
}

function findSharedPorts(wanted: readonly WantedPort[]): string[] {
  return wanted.flatMap(({ port, variable }, index) => {
    const first = wanted.findIndex((other) => other.port === port);
    return first === index ? [] : [`${variable}: ${port} is the port of ${wanted[first]!.variable} too`];
  });
}

function readStackVariables(env: Readonly<Record<string, string | undefined>>, alsoWrong: readonly string[]) {
  try {
    return readEnvironment({ ...stackVariables, publicationName: orderApiVariables.publicationName }, env);
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error;
    throw new ConfigurationError([...error.problems, ...alsoWrong]);
  }
}

/** What the services would refuse in our environment beside what the stack decides for them. */
function findServiceProblems(env: Readonly<Record<string, string | undefined>>): string[] {
  const decided = {
    ...openOnLoopback,
    HOST: '127.0.0.1',
    PORT: '1',
    ORDER_DATABASE_URL: 'postgres://127.0.0.1/orders',
    CART_DATABASE_URL: 'postgres://127.0.0.1/carts',
    ORDER_DATABASE_URL_FILE: '',
    CART_DATABASE_URL_FILE: '',
    KAFKA_BROKERS: '127.0.0.1:1',
  };
  const problems = [readOrderApiConfig, readCdcReaderConfig, readCartSinkConfig].flatMap((read) => {
    try {
      read({ ...env, ...decided });
      return [];
    } catch (error) {
      if (!(error instanceof ConfigurationError)) throw error;
      return error.problems;
    }
  });
  return [...new Set(problems)];
}
