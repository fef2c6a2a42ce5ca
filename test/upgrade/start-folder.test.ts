// The folder of `npm start` of 625f9a0, whose tables are the superuser's: the next `npm start` moves them to their roles, and
// continues with the same orders and carts.
import { execFileSync } from 'node:child_process';
import { symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import {
  type NpmStart,
  npmStart,
  type StartEnvironment,
  startEnvironment,
  startIsUp,
} from '../support/process/npm-start.ts';
import { OLD } from '../support/process/old-services.ts';
import { createTestDirectory, removeTestDirectory } from '../support/process/test-directory.ts';
import { withServer } from '../support/stack/environment.ts';

const repository = join(import.meta.dirname, '..', '..');
const stopDeadlineMs = 40_000;

let [home, folder]: string[] = [];
let env: StartEnvironment;
let running: NpmStart | undefined;

beforeAll(async () => {
  home = createTestDirectory('start_of_old');
  folder = createTestDirectory('old_start');
  const archive = execFileSync('git', ['archive', '--format=tar', OLD], {
    cwd: repository,
    maxBuffer: 256 * 1024 * 1024,
  });
  execFileSync('tar', ['-x', '-C', folder], { input: archive });
  symlinkSync(join(repository, 'node_modules'), join(folder, 'node_modules'));
  env = await startEnvironment(home);
});
afterAll(async () => {
  if (running?.exit() === undefined) await running?.stop('SIGTERM', stopDeadlineMs);
  removeTestDirectory(folder!);
  removeTestDirectory(home!);
});

const read = (database: 'orders' | 'carts', text: string) => {
  const port = env[database === 'orders' ? 'ORDER_POSTGRES_PORT' : 'CART_POSTGRES_PORT'];
  return withServer(`postgres://postgres@127.0.0.1:${port}/${database}`, async (client) =>
    (await client.query<{ value: string }>(text)).rows.map(({ value }) => value),
  );
};
const owners = (database: 'orders' | 'carts') =>
  read(database, `SELECT DISTINCT tableowner AS value FROM pg_tables WHERE schemaname = 'public'`);
const orders = () => read('orders', 'SELECT order_id::text AS value FROM orders ORDER BY placed_at');

it('is taken over with its orders and carts, and each service has its own role', async () => {
  running = await npmStart(env, { folder: folder!, entry: 'dev/start.ts' });
  await running.waitForOutput(startIsUp, 120_000);
  const before = await orders();
  expect(before.length).toBeGreaterThan(0);
  expect(await owners('orders')).toEqual(['postgres']);
  expect(await running.stop('SIGTERM', stopDeadlineMs)).toEqual({ code: 0, signal: null });

  running = await npmStart(env);
  await running.waitForOutput(startIsUp, 120_000);
  expect(running.output()).not.toMatch(/Warning|halted/);
  const after = await orders();
  expect(after.slice(0, before.length)).toEqual(before);
  expect(after.length).toBeGreaterThan(before.length);
  for (const database of ['orders', 'carts'] as const) expect(await owners(database)).toEqual(['migrator']);
  const sessions = `SELECT DISTINCT usename::text AS value FROM pg_stat_activity
    WHERE backend_type IN ('client backend', 'walsender') AND pid <> pg_backend_pid() ORDER BY 1`;
  expect(await read('orders', sessions)).toEqual(['order_api', 'reader']);
  expect(await read('carts', sessions)).toEqual(['cart_sink']);
  expect(await running.stop('SIGTERM', stopDeadlineMs)).toEqual({ code: 0, signal: null });
});
