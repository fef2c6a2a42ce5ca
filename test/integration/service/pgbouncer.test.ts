// A real PgBouncer before the databases, in each mode, also one that takes its server connections in turn and one that has
// a single one. Where it is not installed, the tests are skipped and say so.

import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chmod, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { sql } from '@databases/pg';
import pg from 'pg';
import { afterEach, beforeEach, describe, expect, it, type TestContext } from 'vitest';
import { createDatabase } from '#service/database.ts';
import { serverOf } from '#service/postgres/database-server.ts';
import { migrateCarts } from '../../../cart-sink/migrate-carts.ts';
import { readIdentity } from '../../../cdc-reader/postgres/slot.ts';
import { createSourceSession } from '../../../cdc-reader/postgres/source-session.ts';
import { freePort } from '../../../dev/process/ports.ts';
import { silent } from '../../support/postgres/cart-database.ts';
import { createTestDirectory, removeTestDirectory } from '../../support/process/test-directory.ts';
import { createTestEnvironment, type TestEnvironment } from '../../support/stack/environment.ts';
import { waitFor } from '../../support/wait.ts';

const program = ['/usr/sbin/pgbouncer', '/usr/bin/pgbouncer', '/usr/local/bin/pgbouncer'].find((path) =>
  existsSync(path),
);
const applicationName = 'pgbouncer-test';

describe('a PgBouncer before a database', () => {
  let environment: TestEnvironment;
  let directory: string;
  let bouncer: ChildProcess | undefined;

  beforeEach(async () => {
    environment = await createTestEnvironment('pgbouncer');
    directory = await createTestDirectory('pgbouncer');
  });
  afterEach(async () => {
    if (bouncer !== undefined && bouncer.exitCode === null) {
      const exited = new Promise((resolve) => bouncer!.once('exit', resolve));
      bouncer.kill('SIGQUIT');
      await exited;
    }
    bouncer = undefined;
    await environment.cleanUp();
    await removeTestDirectory(directory);
  });

  /** Starts one before the server of `url`; returns the URL that leads through it. */
  const startBouncer = async (skip: TestContext['skip'], url: string, settings: string): Promise<string> => {
    if (program === undefined) return skip('PgBouncer is not installed (apt-get install pgbouncer)');
    const through = new URL(url);
    const database = through.pathname.slice(1);
    const [port, user] = [await freePort(), through.username];
    const lines = [
      '[databases]',
      `${database} = host=${through.hostname} port=${through.port} user=${user}`,
      '[pgbouncer]',
      `listen_addr=127.0.0.1\nlisten_port=${port}\nunix_socket_dir=\nauth_type=any`,
      settings,
    ];
    const file = join(directory, 'pgbouncer.ini');
    await writeFile(file, lines.join('\n'));
    await chmod(directory, 0o755);
    const isRoot = process.getuid?.() === 0;
    bouncer = spawn(program, [...(isRoot ? ['-u', 'nobody'] : []), '-q', file], { stdio: 'ignore' });
    await waitFor('PgBouncer to listen', async () => {
      await new Promise((resolve, reject) => {
        const socket = connect(port, '127.0.0.1', () => resolve(socket.destroy()));
        socket.once('error', reject);
      });
      return true;
    });
    through.port = String(port);
    return through.href;
  };

  const openPool = (url: string) =>
    createDatabase({
      postgres: serverOf(url),
      applicationName,
      poolSize: 2,
      statementTimeoutMs: 5_000,
      lockTimeoutMs: 3_000,
      idleInTransactionTimeoutMs: 4_000,
      connectTimeoutMs: 5_000,
      acquireTimeoutMs: 10_000,
      logger: silent,
    });
  const openSession = async (databaseUrl: string): Promise<void> => {
    const session = await createSourceSession({
      postgres: serverOf(databaseUrl),
      applicationName,
      onEnd: () => undefined,
    });
    await session.close();
  };
  const unfit = { code: 'POOLER_UNFIT' };

  it.for([
    'pool_mode=transaction',
    'pool_mode=transaction\nserver_round_robin=1',
    'pool_mode=transaction\ndefault_pool_size=1',
    'pool_mode=statement',
  ])('is refused by name with %j, by every kind of session, each time', async (settings, { skip }) => {
    const url = await startBouncer(skip, environment.env.CART_DATABASE_URL, settings);
    const database = openPool(url);
    for (let attempt = 0; attempt < 3; attempt += 1) {
      await expect(database.pool.query(sql`SELECT 1`)).rejects.toMatchObject(unfit);
    }
    await database.close();
    await expect(openSession(url)).rejects.toMatchObject(unfit);
    await expect(migrateCarts({ postgres: serverOf(url), logger: silent })).rejects.toMatchObject(unfit);
    await expect(readIdentity({ postgres: serverOf(url), applicationName })).rejects.toMatchObject(unfit);
  });

  it('in transaction mode is refused each time while others are busy on its server connections', async ({ skip }) => {
    const url = await startBouncer(skip, environment.env.CART_DATABASE_URL, 'pool_mode=transaction');
    const others = Array.from({ length: 4 }, () => new pg.Client({ connectionString: url }));
    let isBusy = true;
    const work = others.map(async (other) => {
      await other.connect();
      // Now and then, so that what takes a connection is sometimes there between two of our statements.
      while (isBusy) {
        await other.query('SELECT 1');
        await setTimeout(Math.random() * 4);
      }
      await other.end();
    });
    try {
      for (let attempt = 0; attempt < 50; attempt += 1) await expect(openSession(url)).rejects.toMatchObject(unfit);
    } finally {
      isBusy = false;
      await Promise.all(work);
    }
  });

  it.for(['pool_mode=session', 'pool_mode=session\ndefault_pool_size=1'])(
    'works with %j',
    async (settings, { skip }) => {
      const url = await startBouncer(skip, environment.env.CART_DATABASE_URL, settings);
      expect(await migrateCarts({ postgres: serverOf(url), logger: silent })).not.toEqual([]);
      const database = openPool(url);
      const limits = await database.pool.query(sql`SELECT current_setting('statement_timeout') AS statement`);
      expect(limits).toEqual([{ statement: '5s' }]);
      await database.close();
      await openSession(url);
    },
  );

  it('in transaction mode has all three services say so, alive and not ready', async ({ skip }) => {
    const url = await startBouncer(skip, environment.env.CART_DATABASE_URL, 'pool_mode=transaction');
    const own = { CART_DATABASE_URL: url, ORDER_DATABASE_URL: url };
    const events = {
      'order-api': 'orders.database-away',
      'cart-sink': 'sink.retrying',
      'cdc-reader': 'reader.waiting',
    } as const;
    for (const [name, event] of Object.entries(events)) {
      const service = await environment.startService(name as keyof typeof events, own);
      const line = await service.waitForLog(event, { deadlineMs: 60_000 });
      expect(JSON.stringify(line)).toContain('POOLER_UNFIT');
      expect(JSON.stringify(line)).toContain('pool_mode=session');
      expect((await service.ready()).status).toBe(503);
    }
  });
});
