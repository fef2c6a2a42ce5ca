// What a torture run breaks: two Postgres, a Kafka cluster, two readers and two sinks, all its own, below a folder that
// is removed at the end. Readers reach Kafka and the orders database through proxies, sinks the carts database, so that a
// network can be cut for one side alone. Times are short: a slot is free after 2 s of silence, a session lasts 6 s, a Kafka
// transaction 5 s. What is broken when is left to faults.ts.

import { cpSync, existsSync, mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { LocalKafka } from '../../dev/servers/local-kafka.ts';
import type { LocalPostgres } from '../../dev/servers/local-postgres.ts';
import { startProxiedKafka } from '../support/kafka/proxied-kafka.ts';
import { createTcpProxy, type TcpProxy } from '../support/network/tcp-proxy.ts';
import { withTextClient } from '../support/oracle/facts.ts';
import { mountSmallDisk, type SmallDisk, unmountBelow } from '../support/postgres/small-disk.ts';
import { removeAbandonedTestRoots } from '../support/process/test-directory.ts';
import { startOwnServers } from '../support/stack/own-servers.ts';
import { createMember, type Member } from './member.ts';

export interface TortureStack {
  readonly orders: LocalPostgres;
  readonly carts: LocalPostgres;
  readonly kafka: LocalKafka;
  /** Between the readers and each broker. */
  readonly kafkaProxies: readonly TcpProxy[];
  /** Between the readers and the orders database. */
  readonly ordersProxy: TcpProxy;
  /** Between the sinks and the carts database. */
  readonly cartsProxy: TcpProxy;
  /** Past the proxy, as a superuser. */
  readonly ordersUrl: string;
  /** Past the proxy. */
  readonly cartsUrl: string;
  readonly readers: readonly Member[];
  readonly sinks: readonly Member[];
  /** Where the first reader spills. */
  readonly spillDisk: SmallDisk;
  /** For tools: everything by its direct way, the orders database as the readers' role. */
  readonly toolEnv: Readonly<Record<string, string>>;
  /** Starts what does not run, resumes what is paused, opens what is cut. */
  restore(): Promise<void>;
  /** Copies every log to a folder that stays; returns it. */
  keepLogs(seed: number): string;
  close(): Promise<void>;
}

const names = {
  SLOT_NAME: 'torture',
  PUBLICATION_NAME: 'torture',
  CONSUMER_GROUP: 'torture',
  ORDERS_TOPIC: 'orders.placed',
};
const common = { ...names, LOG_LEVEL: 'info', HOST: '127.0.0.1' };
/** Small, so that a COPY of the load spills. */
const spillBytes = '65536';
const readerTimes = { WAL_SENDER_TIMEOUT_MS: '2000', TRANSACTION_TIMEOUT_MS: '5000', IDLE_CHECKPOINT_MS: '500' };
const sinkTimes = { SESSION_TIMEOUT_MS: '6000', LAG_INTERVAL_MS: '1000' };
export const { SLOT_NAME: slotName, CONSUMER_GROUP: consumerGroup, ORDERS_TOPIC: ordersTopic } = names;

/** The readers' role, made as docs/operations.md says; the last grant lets the window of WAL move on where the server is idle. */
export const readerRole = 'reader';
const createReaderRole = `
  CREATE ROLE ${readerRole} LOGIN REPLICATION;
  GRANT SELECT ON orders, order_items TO ${readerRole};
  DO $$ BEGIN
    IF to_regprocedure('pg_log_standby_snapshot()') IS NOT NULL THEN -- Postgres 16
      GRANT EXECUTE ON FUNCTION pg_log_standby_snapshot() TO ${readerRole};
    END IF;
  END $$`;

/** The sinks' own, so that a fault meets their sessions alone. */
export const sinkRole = 'sink';
const createSinkRole = `CREATE ROLE ${sinkRole} LOGIN SUPERUSER`;

/** kill -9 loses nothing without fsync, only a power cut does. The oracle compares commit times. */
const postgresSettings = { fsync: 'off', track_commit_timestamp: 'on', max_connections: '120' };
const kafkaSettings = { 'transaction.abort.timed.out.transaction.cleanup.interval.ms': '1000' };

/** Starts the servers, then the services, and waits until orders flow; takes everything down when that fails. */
export async function startTortureStack(brokers: 1 | 3, onNotice: (message: string) => void): Promise<TortureStack> {
  removeAbandonedTestRoots();
  const servers = await startOwnServers({
    settings: postgresSettings,
    publicationName: names.PUBLICATION_NAME,
    onNotice,
    startKafka: (directory) => startProxiedKafka({ directory, nodes: brokers, settings: kafkaSettings }),
  });
  const { orders, carts, ordersUrl } = servers;
  const { kafka, proxies } = servers.kafka;
  const closing: (() => unknown)[] = [() => servers.close()];
  const close = async () => {
    for (const one of closing.toReversed()) await one();
  };
  try {
    const standBefore = async (server: LocalPostgres): Promise<TcpProxy> => {
      const proxy = await createTcpProxy({ targetPort: server.port });
      closing.push(() => proxy.close());
      return proxy;
    };
    const [ordersProxy, cartsProxy] = [await standBefore(orders), await standBefore(carts)];
    await withTextClient(ordersUrl, (query) => query(createReaderRole));
    const cartsUrl = await servers.createCarts('carts');
    await withTextClient(cartsUrl, (query) => query(createSinkRole));
    closing.push(() => unmountBelow(servers.root));
    const spillDisk = mountSmallDisk(join(servers.root, 'spill-0'), 64);

    const through = (proxy: TcpProxy, url: string) => Object.assign(new URL(url), { port: String(proxy.port) }).href;
    const readerEnv = {
      ...common,
      ...readerTimes,
      ORDER_DATABASE_URL: through(ordersProxy, orders.url('orders', readerRole)),
      KAFKA_BROKERS: kafka.bootstrap,
    };
    const sinkEnv = {
      ...common,
      ...sinkTimes,
      CART_DATABASE_URL: through(cartsProxy, carts.url('carts', sinkRole)),
      KAFKA_BROKERS: kafka.directBootstrap,
    };
    const spillFolder = join(servers.root, 'spill-1');
    mkdirSync(spillFolder);
    const readers = [spillDisk.path, spillFolder].map((SPILL_DIRECTORY, index) => {
      return createMember(`reader-${index}`, 'cdc-reader', { ...readerEnv, SPILL_DIRECTORY, SPILL_BYTES: spillBytes });
    });
    const sinks = [0, 1].map((index) => createMember(`sink-${index}`, 'cart-sink', sinkEnv));
    const members = [...readers, ...sinks];
    closing.push(() => Promise.all(members.map((member) => member.close())));
    await Promise.all(members.map((member) => member.start()));
    await Promise.all(members.map(({ service }) => service!.waitReady({ deadlineMs: 60_000 })));

    return {
      orders,
      carts,
      kafka,
      kafkaProxies: proxies,
      ordersProxy,
      cartsProxy,
      ordersUrl,
      cartsUrl,
      readers,
      sinks,
      spillDisk,
      toolEnv: {
        ...common,
        ...readerTimes,
        ORDER_DATABASE_URL: orders.url('orders', readerRole),
        CART_DATABASE_URL: cartsUrl,
        KAFKA_BROKERS: kafka.directBootstrap,
      },
      async restore() {
        cartsProxy.delay(0);
        spillDisk.free();
        for (const proxy of [...proxies, ordersProxy, cartsProxy]) proxy.resume();
        await Promise.all(proxies.map((proxy) => proxy.accept()));
        for (const postgres of [orders, carts]) if (!isRunning(postgres)) await postgres.start();
        for (const broker of kafka.brokers) if (isRunning(broker)) broker.resume();
        await kafka.start();
        for (const member of members) await member.restore();
      },
      keepLogs: (seed) => keepLogs(servers.root, seed, members),
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Whether a server of dev/ has a process. */
function isRunning(server: { pid(): number }): boolean {
  try {
    return server.pid() > 0;
  } catch {
    return false;
  }
}

function keepLogs(root: string, seed: number, members: readonly Member[]): string {
  const folder = mkdtempSync(join(tmpdir(), `tillstream-torture-${seed}-`));
  for (const server of ['orders', 'carts']) {
    const log = join(root, server, 'postgres.log');
    if (existsSync(log)) cpSync(log, join(folder, `${server}-postgres.log`));
  }
  for (const id of [1, 2, 3]) {
    const log = join(root, 'kafka', `broker-${id}`, 'kafka.log');
    if (existsSync(log)) cpSync(log, join(folder, `kafka-${id}.log`));
  }
  mkdirSync(join(folder, 'services'));
  for (const { name, lives } of members) {
    for (const [index, { logs, output, pid }] of lives.entries()) {
      const lines = [...logs.map((entry) => JSON.stringify(entry)), ...output, ''];
      writeFileSync(join(folder, 'services', `${name}-life-${index + 1}-pid-${pid}.log`), lines.join('\n'));
    }
  }
  return folder;
}
