// What one test needs of the shared servers and shares with no other test: a pair of databases, topics, a slot, a
// publication and a consumer group with names of their own, and the services' environment variables that say so.
// cleanUp() takes all of it away again; global-setup.ts fails the run when something stays.

import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { deleteGroupsAndTopics } from '../kafka/admin.ts';
import { type Service, type ServiceName, type ServiceOptions, startService } from '../process/service-process.ts';
import { waitFor } from '../wait.ts';

/** Connection strings of the servers: of the database `postgres` on each, and Kafka's brokers. */
export type TestServers = { orderServerUrl: string; cartServerUrl: string; brokers: string; directBrokers: string };

export type TestEnvironment = {
  /** Unique; part of every name below. */
  readonly id: string;
  readonly servers: TestServers;
  /** Every variable of the contract but PORT, for {@link startService}. */
  readonly env: Readonly<Record<EnvironmentName, string>>;
  /** Starts a service with `env`, `more` on top, to be stopped by `cleanUp`. */
  startService(name: ServiceName, more?: Readonly<Record<string, string>>, options?: ServiceOptions): Promise<Service>;
  /** Does `work`; when it fails, the error also tells what the services last complained of. */
  explain<T>(work: Promise<T>): Promise<T>;
  /** Stops this environment's services, by force when they don't end. Databases and topics stay. */
  stopServices(): Promise<void>;
  /** Stops the services and drops slots, databases, groups and topics. The servers must be running. */
  cleanUp(): Promise<void>;
};

type EnvironmentName =
  | 'ORDER_DATABASE_URL'
  | 'CART_DATABASE_URL'
  | 'KAFKA_BROKERS'
  | 'ORDERS_TOPIC'
  | 'REPLAY_TOPIC'
  | 'CHECKPOINT_TOPIC'
  | 'SLOT_NAME'
  | 'PUBLICATION_NAME'
  | 'CONSUMER_GROUP'
  | 'HOST'
  | 'LOG_LEVEL'
  | 'MIGRATE';

/** Creates both databases, empty, on the run's shared servers or on `servers`. `label`: lower-case letters, digits and _. */
export async function createTestEnvironment(label: string, servers?: TestServers): Promise<TestEnvironment> {
  if (!/^[a-z][a-z0-9_]{0,30}$/.test(label))
    throw new Error(`Not a label of lower-case letters, digits and _: ${label}`);
  const used = servers ?? (await sharedServers());
  const id = `${label}_${randomBytes(4).toString('hex')}`;
  const [orders, carts] = [`orders_${id}`, `carts_${id}`];
  await withServer(used.orderServerUrl, (client) => client.query(`CREATE DATABASE ${orders}`));
  await withServer(used.cartServerUrl, (client) => client.query(`CREATE DATABASE ${carts}`));
  const started: Service[] = [];
  const env = {
    ORDER_DATABASE_URL: databaseUrl(used.orderServerUrl, orders),
    CART_DATABASE_URL: databaseUrl(used.cartServerUrl, carts),
    KAFKA_BROKERS: used.brokers,
    ORDERS_TOPIC: `orders.placed.${id}`,
    REPLAY_TOPIC: `orders.placed.replay.${id}`,
    CHECKPOINT_TOPIC: `cdc.checkpoints.${id}`,
    SLOT_NAME: `slot_${id}`,
    PUBLICATION_NAME: `publication_${id}`,
    CONSUMER_GROUP: `cart-sink-${id}`,
    HOST: '127.0.0.1',
    LOG_LEVEL: 'debug',
    MIGRATE: 'on',
  };
  const stopServices = async () => {
    const toStop = started.splice(0).filter(({ exitCode }) => exitCode === undefined);
    await Promise.all(toStop.map((service) => service.stop().catch(() => service.kill())));
  };
  return {
    id,
    servers: used,
    env,
    async startService(name, more = {}, options = {}) {
      const service = await startService(name, { ...env, ...more }, options);
      started.push(service);
      return service;
    },
    async explain(work) {
      try {
        return await work;
      } catch (error) {
        throw new Error([(error as Error).message, ...started.flatMap(lastComplaints)].join('\n'), { cause: error });
      }
    },
    stopServices,
    async cleanUp() {
      await stopServices();
      await withServer(used.orderServerUrl, (client) => dropDatabase(client, orders));
      await withServer(used.cartServerUrl, (client) => dropDatabase(client, carts));
      await deleteGroupsAndTopics(used.directBrokers, id);
    },
  };
}

const complaintsShown = 5;

function lastComplaints({ name, pid, logs, exitCode }: Service): string[] {
  const complaints = logs.filter(({ level }) => level === 'warn' || level === 'error' || level === 'fatal');
  const exit = exitCode === undefined ? '' : `, ended with ${exitCode}`;
  return complaints
    .slice(-complaintsShown)
    .map((entry) => `${name} (process ${pid}${exit}): ${JSON.stringify(entry).slice(0, 1_000)}`);
}

/** The connection string `serverUrl` with another database. */
export function databaseUrl(serverUrl: string, database: string): string {
  const url = new URL(serverUrl);
  url.pathname = `/${database}`;
  return url.href;
}

/** Runs `use` with a connection of its own. */
export async function withServer<T>(url: string, use: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return await use(client);
  } finally {
    await client.end();
  }
}

async function dropDatabase(client: pg.Client, database: string): Promise<void> {
  // A slot that is in use can't be dropped, and its walsender takes a moment to end.
  await waitFor(`the slots of ${database} to be dropped`, async () => {
    const taken = 'SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE database = $1 AND active';
    await client.query(taken, [database]);
    await client.query('SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = $1', [
      database,
    ]);
    return true;
  });
  const prepared = await client.query<{ gid: string }>('SELECT gid FROM pg_prepared_xacts WHERE database = $1', [
    database,
  ]);
  if (prepared.rows.length > 0) throw new Error(`${database} has prepared transactions; the test must end them.`);
  await client.query(`DROP DATABASE IF EXISTS ${database} WITH (FORCE)`);
}

async function sharedServers(): Promise<TestServers> {
  // Only here, so that a benchmark with servers of its own can use this file outside vitest.
  const { inject } = await import('vitest');
  return inject('servers');
}
