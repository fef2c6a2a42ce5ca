// Transactions whose statements are sent together, against a real Postgres: their order, what a failure in the midst
// leaves, a COMMIT without an answer, and prepared statements that DDL has made stale.
import { sql } from '@databases/pg';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createDatabase, type Database } from '#service/database.ts';
import { serverOf } from '#service/postgres/database-server.ts';
import { CommitUnansweredError } from '#service/postgres/pipelined-transaction.ts';
import { createTcpProxy, type TcpProxy } from '../../support/network/tcp-proxy.ts';
import { createLogLines } from '../../support/process/log-lines.ts';
import { createTestEnvironment, type TestEnvironment } from '../../support/stack/environment.ts';

let environment: TestEnvironment;
let proxy: TcpProxy;
let database: Database;
/** How often the client has sent something since it was cleared. */
let sends = 0;

beforeAll(async () => {
  environment = await createTestEnvironment('pipelined');
  const url = new URL(environment.env.ORDER_DATABASE_URL);
  proxy = await createTcpProxy({ targetHost: url.hostname, targetPort: Number(url.port) });
  url.port = String(proxy.port);
  database = createDatabase({
    postgres: serverOf(url.href),
    applicationName: 'pipelined-test',
    poolSize: 1,
    statementTimeoutMs: 5_000,
    lockTimeoutMs: 3_000,
    idleInTransactionTimeoutMs: 4_000,
    connectTimeoutMs: 3_000,
    acquireTimeoutMs: 2_000,
    logger: createLogLines().logger,
  });
});
afterAll(async () => {
  await database.close();
  proxy.close();
  await environment.cleanUp();
});
beforeEach(async () => {
  proxy.onClientData((data) => {
    sends += 1;
    return data;
  });
  proxy.onServerData((data) => data);
  await database.pool.query(sql`DROP TABLE IF EXISTS facts`);
  await database.pool.query(sql`CREATE TABLE facts (id integer PRIMARY KEY, value text)`);
});

const add = (id: number, value = 'x') => sql`INSERT INTO facts (id, value) VALUES (${id}, ${value}) RETURNING id`;
const readAll = sql`SELECT * FROM facts ORDER BY id`;
const ids = async () => (await database.pool.query(readAll)).map(({ id }) => id);

describe('a transaction whose statements are sent together', () => {
  it('runs them in order, each seeing what precedes it, in two round trips', async () => {
    await database.transaction((tx) => Promise.all([tx.query(add(1)), tx.query(readAll)])); // prepares them
    sends = 0;
    const [first, seen, second] = await database.transaction((tx) =>
      Promise.all([tx.query(add(2)), tx.query(readAll), tx.query(add(3))]),
    );
    expect(sends).toBeLessThanOrEqual(6); // four statements in one turn may leave in several writes; then the COMMIT
    expect([first, second]).toEqual([[{ id: 2 }], [{ id: 3 }]]);
    expect(seen.map(({ id }) => id)).toEqual([1, 2]);
    expect(await ids()).toEqual([1, 2, 3]);
  });

  it('commits nothing where one of them fails, and rejects with that failure', async () => {
    const failing = database.transaction((tx) => Promise.all([tx.query(add(1)), tx.query(add(1)), tx.query(add(2))]));
    await expect(failing).rejects.toMatchObject({ code: '23505' });
    expect(await ids()).toEqual([]);
    await database.transaction((tx) => tx.query(add(5)));
    expect(await ids()).toEqual([5]);
  });

  it('commits nothing where the work fails by itself, or where nobody has waited for a failure', async () => {
    const thrown = new Error('decided otherwise');
    const deciding = database.transaction(async (tx) => {
      await tx.query(add(1));
      throw thrown;
    });
    await expect(deciding).rejects.toBe(thrown);
    const careless = database.transaction(async (tx) => {
      tx.query(sql`SELECT 1 / 0`).catch(() => undefined);
      tx.query(add(2)).catch(() => undefined);
    });
    await expect(careless).rejects.toMatchObject({ code: '22012' });
    expect(await ids()).toEqual([]);
  });

  it('rejects with the failure of a constraint that is checked at the COMMIT, as not committed', async () => {
    await database.pool.query(sql`ALTER TABLE facts ADD CONSTRAINT one UNIQUE (value) DEFERRABLE INITIALLY DEFERRED`);
    const failing = database.transaction((tx) => Promise.all([tx.query(add(1, 'a')), tx.query(add(2, 'a'))]));
    await expect(failing).rejects.toMatchObject({ code: '23505' });
    expect(await ids()).toEqual([]);
  });

  it('prepares statements again that DDL has made stale', async () => {
    const star = (id: number) => sql`SELECT * FROM facts WHERE id = ${id}`;
    await database.transaction((tx) => tx.query(add(1)));
    await database.transaction((tx) => tx.query(star(1)));
    await database.pool.query(sql`ALTER TABLE facts ADD COLUMN more integer DEFAULT 7`);
    expect(await database.transaction((tx) => tx.query(star(1)))).toEqual([{ id: 1, value: 'x', more: 7 }]);
    await database.transaction(async (tx) => {
      await tx.query(sql`DEALLOCATE ALL`);
    });
    expect(await database.transaction((tx) => tx.query(star(1)))).toHaveLength(1);
  });

  it.each([
    ['does not arrive', 'client', []],
    ['is not answered', 'server', [1]],
  ] as const)('reports a COMMIT that %s as unknown', async (_, side, expected) => {
    let isCommitting = false;
    proxy.onClientData((data) => {
      isCommitting ||= data.includes('COMMIT\0');
      return isCommitting && side === 'client' ? 'cut' : data;
    });
    proxy.onServerData((data) => (isCommitting && side === 'server' ? 'cut' : data));
    await expect(database.transaction((tx) => tx.query(add(1)))).rejects.toThrow(CommitUnansweredError);
    isCommitting = false;
    proxy.onClientData((data) => data);
    proxy.onServerData((data) => data);
    expect(await ids()).toEqual([...expected]);
  });
});
