// What a carts database does to the sink without going away: deadlock, lock and statement timeouts, a pool in use, no
// connection or disk left, half a second of latency, and a failover that loses the last commits. Each passes by itself,
// each effect happens once (I3, I6, I8; faults E). Restart, kill -9 and a lost COMMIT are in outage.test.ts.
import type pg from 'pg';
import { afterEach, describe, expect, inject, it } from 'vitest';
import { createLocalPostgres, type LocalPostgres } from '../../../dev/servers/local-postgres.ts';
import { copyPostgresData } from '../../../dev/servers/postgres-data.ts';
import { createTcpProxy } from '../../support/network/tcp-proxy.ts';
import { connectTo } from '../../support/postgres/order-database.ts';
import { mountSmallDisk, type SmallDisk } from '../../support/postgres/small-disk.ts';
import type { Service } from '../../support/process/service-process.ts';
import { createTestDirectory, removeTestDirectory } from '../../support/process/test-directory.ts';
import { createSinkStage, type SinkStage } from '../../support/stack/sink-stage.ts';
import { waitFor } from '../../support/wait.ts';

const users = Array.from({ length: 24 }, (_, index) => `user-${index}`);
const atEnd: (() => unknown)[] = [];
let stage: SinkStage;

afterEach(async () => {
  // Connections first: a lock that a failed test still holds would keep the sink from ending.
  const ends = atEnd.splice(0).reverse();
  for (const end of ends.filter(({ name }) => name === 'first')) await end();
  await stage.cleanUp();
  for (const end of ends.filter(({ name }) => name !== 'first')) await end();
});

const connect = async (): Promise<pg.Client> => {
  const client = await connectTo(stage.environment.env.CART_DATABASE_URL);
  atEnd.push(function first() {
    return client.end();
  });
  return client;
};
const retries = async (sink: Service, reason: string): Promise<number> =>
  (await sink.metrics()).get(`tillstream_sink_retries_total{reason="${reason}"}`) ?? 0;
const waitRetried = (sink: Service, reason: string) =>
  waitFor(`a retry because of ${reason}`, async () => (await retries(sink, reason)) > 0, { deadlineMs: 30_000 });
const start = async (label: string, more: Record<string, string> = {}): Promise<Service> => {
  stage = await createSinkStage(label);
  await stage.createTopics();
  const sink = await stage.startSink({ more });
  await stage.fillCarts(users);
  await stage.publish(users);
  await stage.waitDrained(60_000);
  return sink;
};
/** What has passed is recovered from within seconds. */
const requireAppliedOnce = async (what: string, deadlineMs = 20_000): Promise<void> => {
  const sinceMs = performance.now();
  await stage.waitDrained(deadlineMs);
  console.info(`${what}: drained within ${Math.round(performance.now() - sinceMs)} ms`);
  await stage.requireAppliedOnce();
};
const lockLine = (client: pg.Client) => client.query(`SELECT 1 FROM cart_lines WHERE user_id = 'user-0' FOR UPDATE`);
/** The sink's session waits for a lock of ours. */
const waitSinkWaits = (own: pg.Client) =>
  waitFor('the sink to wait for the lock', async () => {
    const { rows } = await own.query(
      `SELECT 1 FROM pg_stat_activity
       WHERE datname = current_database() AND wait_event_type = 'Lock' AND application_name LIKE '%sink%'`,
    );
    return rows.length > 0;
  });

describe('a lock in the carts database', () => {
  it('that closes a circle makes the sink its victim, and it applies the batch again', async () => {
    const sink = await start('sink_deadlock');
    const [shopper, observer] = [await connect(), await connect()];
    // Whoever's deadlock_timeout ends first is the victim; ours never does.
    await shopper.query(`SET deadlock_timeout = '60s'`);
    await shopper.query('BEGIN');
    await lockLine(shopper);
    await stage.publish(['user-0']);
    await waitSinkWaits(observer);
    await shopper.query('SELECT 1 FROM consumer_offsets FOR UPDATE');
    await shopper.query('COMMIT');
    await waitRetried(sink, '40P01');
    expect(await retries(sink, '40P01')).toBe(1);
    await requireAppliedOnce('deadlock');
  });

  it('that is held for longer than the lock timeout is tried for again until it is free', async () => {
    const sink = await start('sink_lock');
    const shopper = await connect();
    await shopper.query('BEGIN');
    await lockLine(shopper);
    await stage.publish(users);
    await waitRetried(sink, '55P03');
    expect(sink.logs.filter(({ event }) => event === 'pipeline.halted')).toEqual([]);
    await shopper.query('COMMIT');
    await requireAppliedOnce('lock timeout');
  });

  it('that takes every connection of the cart API leaves the sink its own, and answers 503 in time', async () => {
    const sink = await start('sink_pool', { CART_POOL_SIZE: '1' });
    const shopper = await connect();
    const { rows } = await shopper.query<{ line_id: string }>(
      `SELECT line_id FROM cart_lines WHERE user_id = 'user-0'`,
    );
    await shopper.query('BEGIN');
    await lockLine(shopper);
    const path = `${sink.url}/carts/user-0/lines/${rows[0]!.line_id}`;
    const change = () =>
      fetch(path, {
        method: 'PATCH',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ quantity: 1_000_000 }),
      });
    const answers = Promise.all([change(), change(), change()]);
    await stage.publish(users.slice(1));
    const others = async () =>
      (await stage.query<{ n: number }>('SELECT count(*)::int AS n FROM applied_orders'))[0]!.n;
    await waitFor('the other carts to be reduced', async () => (await others()) === 47, { deadlineMs: 30_000 });
    for (const { status, headers } of await answers) {
      expect(status).toBe(503);
      expect(headers.get('retry-after')).not.toBe(null);
    }
    await shopper.query('COMMIT');
    expect((await fetch(`${sink.url}/carts/user-0`)).status).toBe(200);
    await requireAppliedOnce('pool in use');
  });
});

describe('a carts database', () => {
  it('that takes longer than the statement timeout is tried again until it does not', async () => {
    const sink = await start('sink_slow');
    await stage.query(`
      CREATE FUNCTION stall() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(20); RETURN NULL; END $$;
      CREATE TRIGGER stall AFTER INSERT ON applied_orders FOR EACH STATEMENT EXECUTE FUNCTION stall()`);
    await stage.publish(users);
    await waitRetried(sink, '57014');
    expect(sink.logs.filter(({ event }) => event === 'pipeline.halted')).toEqual([]);
    expect((await fetch(`${sink.url}/carts/user-0`)).status).toBe(200);
    await stage.query('DROP FUNCTION stall() CASCADE');
    await requireAppliedOnce('statement timeout');
  });

  it('half a second away is kept up with, without losing a partition', async () => {
    stage = await createSinkStage('sink_latency');
    await stage.createTopics();
    const url = new URL(stage.environment.env.CART_DATABASE_URL);
    const proxy = await createTcpProxy({ targetPort: Number(url.port) });
    atEnd.push(() => proxy.close());
    url.port = String(proxy.port);
    const sink = await stage.startSink({ more: { CART_DATABASE_URL: url.href } });
    await stage.fillCarts(users);
    await stage.publish(users);
    await stage.waitDrained(60_000);
    const assigned = sink.logs.filter(({ event }) => event === 'sink.assigned').length;
    proxy.delay(250);
    for (let round = 0; round < 20; round += 1) await stage.publish(users);
    // Nothing recovers here: the latency stays, and two batches at a time go through it.
    await requireAppliedOnce('500 ms of latency', 60_000);
    proxy.delay(0);
    expect(sink.logs.filter(({ event }) => event === 'sink.assigned')).toHaveLength(assigned);
  });
});

describe('a carts server of its own', () => {
  const createServer = async (
    label: string,
    settings: Record<string, string> = {},
    makeRoom: (directory: string) => string = (directory) => `${directory}/first`,
  ): Promise<{ directory: string; server: LocalPostgres }> => {
    const directory = createTestDirectory(label);
    atEnd.push(() => removeTestDirectory(directory));
    const server = await createLocalPostgres({
      directory: makeRoom(directory),
      settings: { fsync: 'off', ...settings },
    });
    atEnd.push(() => server.close());
    await server.start();
    const { orderServerUrl, brokers, directBrokers } = inject('servers');
    const cartServerUrl = server.url('postgres');
    stage = await createSinkStage(label, { orderServerUrl, cartServerUrl, brokers, directBrokers });
    return { directory, server };
  };

  it('whose disk is full is waited for by name until there is space', async () => {
    let disk: SmallDisk | undefined;
    // Log files that are there already are written on; it is the tables that can't grow.
    await createServer('sink_disk_full', { wal_keep_size: '48MB', max_wal_size: '64MB' }, (directory) => {
      disk = mountSmallDisk(`${directory}/disk`, 256);
      return `${disk.path}/first`;
    });
    await stage.createTopics();
    const sink = await stage.startSink();
    await stage.fillCarts(users);
    await stage.publish(users);
    await stage.waitDrained(60_000);
    disk!.fill();
    await waitFor(
      'the disk to be full for the sink',
      async () => {
        await stage.publish(users);
        return (await sink.metrics()).get('tillstream_waiting{name="DISK_FULL"}') === 1;
      },
      { deadlineMs: 60_000 },
    );
    expect((await fetch(`${sink.url}/carts/user-0`)).status).toBe(200);
    disk!.free();
    await requireAppliedOnce('disk full');
    expect(sink.logs.filter(({ event }) => event === 'pipeline.halted')).toEqual([]);
  });

  it('without a connection left is waited for', async () => {
    // Three are the superuser's own by default; here everyone is one, so none is kept back.
    const { server } = await createServer('sink_no_connection', {
      max_connections: '24',
      superuser_reserved_connections: '0',
      reserved_connections: '0',
    });
    await stage.createTopics();
    const sink = await stage.startSink();
    await stage.fillCarts(users);
    await stage.publish(users);
    await stage.waitDrained(60_000);
    await stage.publish(users);
    const crowd: pg.Client[] = [];
    const leave = async () => {
      for (const client of crowd.splice(0)) await client.end();
    };
    atEnd.push(function first() {
      return leave();
    });
    const join = async () => {
      const client = await connectTo(server.url('postgres'));
      client.on('error', () => undefined); // a failed test stops the server under it
      crowd.push(client);
    };
    await join();
    // The sink's sessions are ended until the crowd has taken all their places.
    await waitFor('every connection to be taken', async () => {
      const ended = await crowd[0]!.query(
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'tillstream-cart-%'`,
      );
      try {
        for (;;) await join();
      } catch (error) {
        if ((error as { code?: string }).code !== '53300') throw error;
        return ended.rowCount === 0;
      }
    });
    await waitFor('the sink to say that it is not ready', async () => (await sink.ready()).status === 503, {
      deadlineMs: 30_000,
    });
    await leave();
    await stage.publish(users);
    await requireAppliedOnce('no connection left');
  });

  it('that fails over and loses its last commits takes offset and effects back together', async () => {
    const { directory, server } = await createServer('sink_failover');
    await stage.createTopics();
    const sink = await stage.startSink();
    await stage.fillCarts(users);
    await stage.publish(users);
    await stage.waitDrained(60_000);
    await server.stop('fast');
    await copyPostgresData(server.dataDirectory, `${directory}/standby`);
    await server.start();
    for (let round = 0; round < 5; round += 1) await stage.publish(users);
    await stage.waitDrained(60_000);
    await stage.requireAppliedOnce();

    await server.kill();
    const standby = await createLocalPostgres({
      directory: `${directory}/standby`,
      port: server.port,
      settings: { fsync: 'off' },
    });
    atEnd.push(() => standby.close());
    await standby.start();
    // No order comes any more: the sink looks by itself.
    const noticed = () =>
      sink.logs.some(({ event, reason }) => event === 'sink.restarting' && reason === 'out-of-step');
    await waitFor('the sink to notice', noticed, { deadlineMs: 20_000 });
    await requireAppliedOnce('failover that lost commits');
    expect(sink.logs.filter(({ event }) => event === 'pipeline.halted')).toEqual([]);
  });
});
