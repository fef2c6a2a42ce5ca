// The pool against a real Postgres: that every wait has an end, whatever the network does, and that the pool is whole
// again afterwards.

import { sql } from '@databases/pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { createDatabase, type Database, type DatabaseOptions, isDatabaseAway } from '#service/database.ts';
import { serverOf } from '#service/postgres/database-server.ts';
import { createTcpProxy, type TcpProxy } from '../../support/network/tcp-proxy.ts';
import { createLogLines, type LogLine } from '../../support/process/log-lines.ts';
import { createTestEnvironment, type TestEnvironment, withServer } from '../../support/stack/environment.ts';
import { waitFor } from '../../support/wait.ts';

let environment: TestEnvironment;
let proxy: TcpProxy;
let url: string;
const databases: Database[] = [];

beforeAll(async () => {
  environment = await createTestEnvironment('service_database');
});
afterAll(() => environment.cleanUp());
beforeEach(async () => {
  const direct = new URL(environment.env.ORDER_DATABASE_URL);
  proxy = await createTcpProxy({ targetHost: direct.hostname, targetPort: Number(direct.port) });
  direct.port = String(proxy.port);
  url = direct.href;
});
afterEach(async () => {
  proxy.resume();
  await Promise.all(databases.splice(0).map((database) => database.close()));
  proxy.close();
});

function open(options: Partial<DatabaseOptions> = {}): Database & { lines: LogLine[] } {
  const { logger, lines } = createLogLines();
  const database = createDatabase({
    postgres: serverOf(url),
    applicationName: 'service-database-test',
    poolSize: 2,
    statementTimeoutMs: 5_000,
    lockTimeoutMs: 3_000,
    idleInTransactionTimeoutMs: 4_000,
    connectTimeoutMs: 3_000,
    acquireTimeoutMs: 2_000,
    logger,
    ...options,
  });
  databases.push(database);
  return Object.assign(database, { lines });
}

/** The error that `attempt` ends with, and after how many milliseconds. */
async function failure(attempt: Promise<unknown>): Promise<{ error: unknown; afterMs: number }> {
  const startMs = performance.now();
  const error = await attempt.then(
    () => {
      throw new Error('did not fail');
    },
    (reason) => reason,
  );
  return { error, afterMs: performance.now() - startMs };
}

test('bigints are exact, and the session has the name and limits that were asked for', async () => {
  const { pool } = open();
  expect(await pool.query(sql`SELECT 9223372036854775807::bigint AS value`)).toEqual([{ value: 2n ** 63n - 1n }]);
  const [settings] = await pool.query(sql`
    SELECT current_setting('application_name') AS name, current_setting('statement_timeout') AS statement,
      current_setting('lock_timeout') AS lock, current_setting('idle_in_transaction_session_timeout') AS idle`);
  expect(settings).toEqual({ name: 'service-database-test', statement: '5s', lock: '3s', idle: '4s' });
});

test("sessions are READ COMMITTED, whatever the server's default is", async () => {
  const name = new URL(url).pathname.slice(1);
  const set = `ALTER DATABASE ${name} SET default_transaction_isolation = 'serializable'`;
  await withServer(environment.env.ORDER_DATABASE_URL, (client) => client.query(set));
  try {
    const { pool } = open();
    const read = sql`SELECT current_setting('transaction_isolation') AS level`;
    const levels = await Promise.all([pool.query(read), pool.tx((tx) => tx.query(read)), pool.query(read)]);
    expect(levels.flat()).toEqual(Array(3).fill({ level: 'read committed' }));
    await withServer(url, async (client) => {
      expect((await client.query('SHOW transaction_isolation')).rows[0].transaction_isolation).toBe('serializable');
    });
  } finally {
    await withServer(environment.env.ORDER_DATABASE_URL, (client) =>
      client.query(`ALTER DATABASE ${name} RESET default_transaction_isolation`),
    );
  }
});

test('a client that stops while it is being answered holds no lock for longer than the idle limit', async () => {
  const database = open({ idleInTransactionTimeoutMs: 1_000, statementTimeoutMs: 20_000 });
  await database.pool.query(sql`CREATE TABLE answered (id int)`);
  await withServer(environment.env.ORDER_DATABASE_URL, async (client) => {
    const waitsFor = (event: string) => async () =>
      (
        await client.query('SELECT FROM pg_stat_activity WHERE application_name = $1 AND wait_event = $2', [
          'service-database-test',
          event,
        ])
      ).rowCount === 1;
    let locked: string | undefined;
    const { error } = await failure(
      database.pool.tx(async (tx) => {
        await tx.query(sql`LOCK TABLE answered`);
        // Far more than the sockets in between can hold.
        const answer = failure(tx.query(sql`SELECT repeat('x', 1000000) FROM pg_sleep(0.5), generate_series(1, 60)`));
        await waitFor('the server to work on it', waitsFor('PgSleep'));
        // The proxy stops reading, as a stopped process does.
        proxy.pause();
        await waitFor('the server to have no room for its answer', waitsFor('ClientWrite'));
        await client.query("SET lock_timeout = '10s'");
        locked = await client.query('SELECT * FROM answered').then(
          () => 'released',
          () => 'held',
        );
        proxy.resume();
        throw (await answer).error;
      }),
    );
    expect(locked).toBe('released');
    expect(isDatabaseAway(error)).toBe(true);
  });
});

test('a transaction may have a lock limit of its own', async () => {
  const { pool } = open();
  const read = sql`SELECT current_setting('lock_timeout') AS lock`;
  const inside = await pool.tx((tx) => tx.query(read), { lockTimeoutMilliseconds: 250 });
  expect([inside, await pool.query(read)]).toEqual([[{ lock: '250ms' }], [{ lock: '3s' }]]);
});

describe('nobody waits longer than allowed, and the pool is whole afterwards:', () => {
  /** As many queries at once as there are connections. */
  const expectWhole = async ({ pool }: Database) => {
    const answers = [1, 2].map((n) => pool.query(sql`SELECT ${n}::int AS n, pg_sleep(0.05)`));
    expect((await Promise.all(answers)).flat()).toMatchObject([{ n: 1 }, { n: 2 }]);
  };

  test('for a connection, while all are busy', async () => {
    const database = open({ acquireTimeoutMs: 300 });
    await database.ping();
    const busy = [1, 2].map(() => database.pool.query(sql`SELECT pg_sleep(1)`));
    const { error, afterMs } = await failure(database.ping());
    expect(isDatabaseAway(error)).toBe(true);
    expect(afterMs).toBeGreaterThan(250);
    expect(afterMs).toBeLessThan(1_500);
    await Promise.all(busy);
    await expectWhole(database);
  });

  test('for a connection, from a server that is silent', async () => {
    proxy.pause();
    const database = open({ acquireTimeoutMs: 300 });
    const attempts = await Promise.all([1, 2, 3, 4].map(() => failure(database.ping())));
    for (const { error, afterMs } of attempts) {
      expect(isDatabaseAway(error)).toBe(true);
      expect(afterMs).toBeLessThan(1_500);
    }
    proxy.resume();
    await waitFor('the pool to recover', () => database.ping().then(() => true));
    await expectWhole(database);
  });

  test('for a connection that is refused', async () => {
    proxy.refuse();
    const database = open({ acquireTimeoutMs: 300 });
    const { error, afterMs } = await failure(database.ping());
    expect(isDatabaseAway(error)).toBe(true);
    expect(afterMs).toBeLessThan(1_500);
    await proxy.accept();
    await waitFor('the pool to recover', () => database.ping().then(() => true));
    await expectWhole(database);
  });

  test('for a statement that takes long', async () => {
    const database = open({ statementTimeoutMs: 200 });
    const { error, afterMs } = await failure(database.pool.query(sql`SELECT pg_sleep(10)`));
    expect(error).toMatchObject({ code: '57014' });
    expect(isDatabaseAway(error)).toBe(true);
    expect(afterMs).toBeLessThan(1_500);
    await expectWhole(database);
  });

  test('for an answer over a network that went silent', async () => {
    const database = open({ statementTimeoutMs: 200 });
    await database.ping();
    proxy.pause();
    const { error, afterMs } = await failure(database.ping());
    expect(isDatabaseAway(error)).toBe(true);
    expect(afterMs).toBeGreaterThan(2_000);
    expect(afterMs).toBeLessThan(4_000);
    proxy.resume();
    await expectWhole(database);
  });

  test('for a lock that another transaction holds', async () => {
    const database = open({ lockTimeoutMs: 200 });
    await database.pool.query(sql`CREATE TABLE held (id int)`);
    await database.pool.tx(async (tx) => {
      await tx.query(sql`LOCK TABLE held`);
      const { error, afterMs } = await failure(database.pool.query(sql`SELECT * FROM held`));
      expect(error).toMatchObject({ code: '55P03' });
      expect(isDatabaseAway(error)).toBe(true);
      expect(afterMs).toBeLessThan(1_000);
    });
    await expectWhole(database);
  });
});

test('connections that end by themselves are replaced: the busy one fails as away, the idle one is logged', async () => {
  const database = open();
  const busy = failure(database.pool.query(sql`SELECT pg_sleep(10)`));
  await Promise.all([database.ping(), database.ping()]);
  const terminate = `SELECT count(pg_terminate_backend(pid))::int AS ended FROM pg_stat_activity
    WHERE application_name = 'service-database-test'`;
  const ended = await withServer(environment.env.ORDER_DATABASE_URL, (client) => client.query(terminate));
  expect(ended.rows).toEqual([{ ended: 2 }]);
  expect(isDatabaseAway((await busy).error)).toBe(true);
  await waitFor('the lost connection to be logged', () => database.lines.length > 0);
  expect(database.lines).toMatchObject([{ level: 'warn', event: 'database.connection-lost', err: { code: '57P01' } }]);
  await database.ping();
});

test('connections cut while a transaction runs fail it as away', async () => {
  const database = open();
  const attempt = database.pool.tx(async (tx) => {
    await tx.query(sql`SELECT 1`);
    proxy.cut();
    await tx.query(sql`SELECT 1`);
  });
  expect(isDatabaseAway((await failure(attempt)).error)).toBe(true);
  await database.ping();
});

test('closing ends although the server is silent, and cuts off what runs and what is being opened', async () => {
  const database = open({ statementTimeoutMs: 20_000, acquireTimeoutMs: 20_000 });
  const silent = Promise.withResolvers<void>();
  const running = failure(
    database.pool.tx(async (tx) => {
      await tx.query(sql`SELECT 1`);
      proxy.pause();
      silent.resolve();
      await tx.query(sql`SELECT 1`);
    }),
  );
  await silent.promise;
  const opening = failure(database.ping());
  const startMs = performance.now();
  await database.close();
  expect(performance.now() - startMs).toBeLessThan(4_000);
  expect(isDatabaseAway((await running).error)).toBe(true);
  expect(database.lines).toMatchObject([{ level: 'warn', event: 'database.work-cut-off', connections: 1 }]);
  proxy.cut();
  expect(isDatabaseAway((await opening).error)).toBe(true);
});

test('closing waits for what runs and leaves no connection behind', async () => {
  const database = open();
  const slow = database.pool.query(sql`SELECT pg_sleep(0.3), 'done' AS state`);
  await database.ping();
  await Promise.all([slow, database.close()]);
  expect(await slow).toMatchObject([{ state: 'done' }]);
  await waitFor('no connection to be left', async () => {
    const count = `SELECT 1 FROM pg_stat_activity WHERE application_name = 'service-database-test'`;
    return (await withServer(environment.env.ORDER_DATABASE_URL, (client) => client.query(count))).rowCount === 0;
  });
  databases.splice(0);
});
