// Migrations against a real Postgres: all or nothing, once, whoever else starts at the same time.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { classifyFailure, isDatabaseAway } from '#service/failure.ts';
import { MigrationFailedError, migrate } from '#service/migrate.ts';
import { serverOf } from '#service/postgres/database-server.ts';
import { createLogLines, type LogLine } from '../../support/process/log-lines.ts';
import { createTestEnvironment, type TestEnvironment, withServer } from '../../support/stack/environment.ts';
import { waitFor } from '../../support/wait.ts';

let environment: TestEnvironment;
let databaseUrl: string;
let directory: string;

beforeEach(async () => {
  environment = await createTestEnvironment('service_migrate');
  databaseUrl = environment.env.ORDER_DATABASE_URL;
  directory = mkdtempSync(join(tmpdir(), 'tillstream-migrations-'));
});
afterEach(async () => {
  rmSync(directory, { recursive: true });
  await environment.cleanUp();
});

const write = (name: string, text: string) => writeFileSync(join(directory, name), text);
const query = async (text: string) => (await withServer(databaseUrl, (client) => client.query(text))).rows;
const tables = async () =>
  (await query(`SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1`)).map((row) => row.tablename);

async function run(lines: LogLine[] = []): Promise<readonly string[]> {
  const log = createLogLines('info');
  try {
    return await migrate({ postgres: serverOf(databaseUrl), directory, logger: log.logger });
  } finally {
    lines.push(...log.lines);
  }
}

test('missing migrations are applied in the order of their numbers, logged, and applied once', async () => {
  write('0002_second.sql', 'INSERT INTO a VALUES (2);');
  write('0001_first.sql', `-- about it\n-- Up Migration\nCREATE TABLE a (id int);\n-- Down Migration\nDROP TABLE a;\n`);
  const lines: LogLine[] = [];
  expect(await run(lines)).toEqual(['0001_first', '0002_second']);
  expect(lines).toMatchObject([
    { level: 'info', event: 'migration.applied', name: '0001_first' },
    { level: 'info', event: 'migration.applied', name: '0002_second' },
  ]);
  expect(await query('SELECT id FROM a')).toEqual([{ id: 2 }]);
  expect(await query('SELECT name FROM tillstream_migrations ORDER BY id')).toEqual([
    { name: '0001_first' },
    { name: '0002_second' },
  ]);
  write('0003_third.sql', 'INSERT INTO a VALUES (3);');
  expect(await run()).toEqual(['0003_third']);
  expect(await run()).toEqual([]);
  expect(await query('SELECT id FROM a ORDER BY id')).toEqual([{ id: 2 }, { id: 3 }]);
});

test('processes that start at the same time wait for each other, and each succeeds', async () => {
  write('0001_slow.sql', 'CREATE TABLE a (id int); SELECT pg_sleep(0.5);');
  write('0002_row.sql', 'INSERT INTO a VALUES (1);');
  const results = await Promise.all([run(), run(), run()]);
  expect(results.filter((names) => names.length === 2)).toHaveLength(1);
  expect(results.filter((names) => names.length === 0)).toHaveLength(2);
  expect(await query('SELECT id FROM a')).toEqual([{ id: 1 }]);
});

test('a migration whose lock another transaction holds gives up, lets others work, and tries again', async () => {
  await query('CREATE TABLE a (id int)');
  write('0001_column.sql', "SET LOCAL lock_timeout = '100ms'; ALTER TABLE a ADD COLUMN more int;");
  const log = createLogLines('info');
  const migrating = await withServer(databaseUrl, async (holder) => {
    await holder.query('BEGIN; LOCK TABLE a IN ACCESS SHARE MODE');
    const running = migrate({ postgres: serverOf(databaseUrl), directory, logger: log.logger });
    await waitFor('the migration to give up once', () =>
      log.lines.some(({ event }) => event === 'migration.waiting-for-lock'),
    );
    await query('INSERT INTO a VALUES (1)');
    await holder.query('COMMIT');
    return running;
  });
  expect(migrating).toEqual(['0001_column']);
  expect(await query('SELECT id, more FROM a')).toEqual([{ id: 1, more: null }]);
});

test('a migration that fails is named, and nothing of the run is kept', async () => {
  write('0001_good.sql', 'CREATE TABLE good (id int);');
  write('0002_bad.sql', 'CREATE TABLE bad (id int); INSERT INTO nowhere VALUES (1);');
  write('0003_never.sql', 'CREATE TABLE never (id int);');
  const error = await run().catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(MigrationFailedError);
  expect(error).toMatchObject({
    code: 'MIGRATION_FAILED',
    file: '0002_bad.sql',
    message:
      'Migration 0002_bad.sql failed and was rolled back, nothing was changed: relation "nowhere" does not exist',
    cause: { code: '42P01' },
  });
  expect(classifyFailure(error)).toMatchObject({ kind: 'waiting', name: 'MIGRATION_FAILED' });
  expect(await tables()).toEqual(['tillstream_migrations']);
  write('0002_bad.sql', 'CREATE TABLE bad (id int);');
  expect(await run()).toEqual(['0001_good', '0002_bad', '0003_never']);
});

test('a migration that was slipped in before applied ones is refused by name', async () => {
  write('0002_second.sql', 'CREATE TABLE b (id int);');
  await run();
  write('0001_first.sql', 'CREATE TABLE a (id int);');
  await expect(run()).rejects.toThrow('Not run migration 0001_first is preceding already run migration 0002_second');
  expect(await tables()).toEqual(['b', 'tillstream_migrations']);
});

test('a database that can not be reached is told as away', async () => {
  const attempt = migrate({
    postgres: serverOf('postgres://127.0.0.1:1/none'),
    directory,
    logger: createLogLines().logger,
  });
  expect(isDatabaseAway(await attempt.catch((reason: unknown) => reason))).toBe(true);
});

test('a connection lost in the middle of a migration names the file, is told as away, and ends nothing else', async () => {
  write('0001_long.sql', 'SELECT pg_sleep(60);');
  const attempt = run().catch((reason: unknown) => reason);
  await waitFor('the migration to run', async () => {
    const terminate = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
      WHERE datname = current_database() AND application_name = 'tillstream-migrate' AND query LIKE '%pg_sleep(60)%'`;
    return (await query(terminate)).length > 0;
  });
  const error = await attempt;
  expect(error).toMatchObject({ code: 'MIGRATION_FAILED', file: '0001_long.sql' });
  expect(isDatabaseAway(error)).toBe(true);
  expect(await tables()).toEqual(['tillstream_migrations']);
});
