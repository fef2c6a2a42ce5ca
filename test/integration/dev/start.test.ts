// `npm start` as a person meets it: run in a folder and on ports of its own, its printed curl lines pasted into a shell,
// a service killed, Ctrl-C, and the next start. The tests are one story, in order, on one stack.
import { execFile } from 'node:child_process';
import { globSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isAlive, readPidFile } from '../../../dev/process/process-identity.ts';
import {
  type NpmStart,
  npmStart,
  type StartEnvironment,
  startEnvironment,
  startIsUp,
} from '../../support/process/npm-start.ts';
import { createTestDirectory, removeTestDirectory } from '../../support/process/test-directory.ts';
import { withServer } from '../../support/stack/environment.ts';
import { waitFor } from '../../support/wait.ts';

const repository = join(import.meta.dirname, '..', '..', '..');
type Cart = { lines: { sku: string; quantity: number }[] };

describe('npm start', () => {
  let home: string;
  let env: StartEnvironment;
  let first: NpmStart;

  const start = () => npmStart(env);
  const url = (port: string) => `http://127.0.0.1:${env[port]}`;
  const readCart = async (userId: string): Promise<string> => {
    const { lines } = (await (await fetch(`${url('CART_SINK_PORT')}/carts/${userId}`)).json()) as Cart;
    return lines.map(({ sku, quantity }) => `${quantity} ${sku}`).join(', ');
  };
  const post = async (to: string, body: object): Promise<void> => {
    const headers = { 'content-type': 'application/json' };
    const response = await fetch(to, { method: 'POST', headers, body: JSON.stringify(body) });
    if (response.status !== 201) throw new Error(`POST ${to} answered ${response.status}: ${await response.text()}`);
  };
  /** Every process that the stack has noted. */
  const stackProcesses = () =>
    globSync('**/*.pid.json', { cwd: home }).flatMap((file) => readPidFile(join(home, file))?.process ?? []);
  const printed = (pattern: RegExp): string => {
    const found = pattern.exec(first.output())?.[1];
    if (found === undefined) throw new Error(`npm start did not print ${pattern}:\n${first.output()}`);
    return found;
  };

  beforeAll(async () => {
    home = createTestDirectory('start');
    env = await startEnvironment(home);
    first = await start();
    await first.waitForOutput(startIsUp);
  });

  afterAll(async () => {
    if (first?.exit() === undefined) await first?.stop('SIGTERM', 30_000);
    removeTestDirectory(home);
  });

  it('shows an order taking its goods out of the cart, and how long that took', async () => {
    expect(printed(/cart before +(.*)/)).toBe('2 tea, 4 mug, 6 spoon');
    expect(printed(/cart after +(.*)/)).toBe('1 mug, 6 spoon');
    expect(Number(printed(/The cart was right ([\d.]+) ms after the order's commit/))).toBeGreaterThan(0);
    expect(await readCart(printed(/for the new user (\S+):/))).toBe('1 mug, 6 spoon');
  });

  it('prints curl lines that, pasted, add to a cart, order, pay and look', async () => {
    const lines = first.output().split('\n');
    const pasted = lines.filter((line) => /^ {2}(curl|order=)/.test(line)).join('\n');
    const { stdout } = await promisify(execFile)('sh', ['-e', '-c', pasted], { env });
    const answers = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(answers.map((answer) => Object.keys(answer)[0])).toEqual([
      'lineId',
      'lineId',
      'userId',
      'orderId',
      'orderId',
      'userId',
      'orders',
    ]);
    expect(answers[4]).toMatchObject({ status: 'paid', totalCents: 4_500 });
    const userId = String(answers[2]!.userId);
    await waitFor('the pasted order to leave the cart', async () => (await readCart(userId)) === '1 mug');
  });

  it('runs each service as its own role, and the tables are nobody’s of these', async () => {
    const rolesOf = async (database: 'orders' | 'carts', text: string) =>
      withServer(
        `postgres://postgres@127.0.0.1:${env[database === 'orders' ? 'ORDER_POSTGRES_PORT' : 'CART_POSTGRES_PORT']}/${database}`,
        async (client) => (await client.query<{ role: string }>(text)).rows.map(({ role }) => role),
      );
    const sessions = `SELECT DISTINCT usename AS role FROM pg_stat_activity
      WHERE backend_type IN ('client backend', 'walsender') AND pid <> pg_backend_pid() ORDER BY 1`;
    const owners = `SELECT DISTINCT tableowner AS role FROM pg_tables WHERE schemaname = 'public'`;
    expect(await rolesOf('orders', sessions)).toEqual(['order_api', 'reader']);
    expect(await rolesOf('carts', sessions)).toEqual(['cart_sink']);
    for (const database of ['orders', 'carts'] as const) expect(await rolesOf(database, owners)).toEqual(['migrator']);
  });

  it('prints a command for operators that, pasted, finds that the databases agree', async () => {
    const exported = first
      .output()
      .split('\n')
      .find((line) => line.startsWith('  export '))!;
    const audit = `${exported}\n${process.execPath} tools/audit/main.ts`;
    const { stdout } = await promisify(execFile)('sh', ['-e', '-c', audit], { env, cwd: repository });
    expect(stdout).toContain('The two databases agree.');
  });

  it('starts a service again that was killed, and the cart is right', async () => {
    const carts = `${url('CART_SINK_PORT')}/carts/killed/lines`;
    await post(carts, { sku: 'tea', quantity: 5 });
    process.kill(Number(printed(/cdc-reader .* process (\d+)/)), 'SIGKILL');
    await first.waitForOutput('cdc-reader ended (SIGKILL)');
    const items = [{ sku: 'tea', quantity: 3, unitPriceCents: 100 }];
    await post(`${url('ORDER_API_PORT')}/orders`, { userId: 'killed', items });
    await waitFor('the order to leave the cart', async () => (await readCart('killed')) === '2 tea', {
      deadlineMs: 40_000,
    });
    expect(first.output()).toContain('cdc-reader runs again');
  });

  it('tells a second start on the same folder that it runs already', async () => {
    const second = await start();
    expect((await second.exited).code).toBe(1);
    await waitFor('the message', () => second.output().includes(`already runs on ${home} (process ${first.pid})`));
  });

  it('stops everything on Ctrl-C, pressed once or often, with exit code 0', async () => {
    const processes = stackProcesses();
    expect(processes.filter(isAlive).length).toBe(7);
    first.signal('SIGINT');
    await first.waitForOutput('Stopping the services');
    first.signal('SIGINT');
    expect(await first.stop('SIGINT', 40_000)).toEqual({ code: 0, signal: null });
    expect(processes.filter(isAlive)).toEqual([]);
    expect(stackProcesses()).toEqual([]);
  });

  it('goes on with the same data at the next start', async () => {
    const next = await start();
    try {
      await next.waitForOutput(startIsUp);
      expect(await readCart('killed')).toBe('2 tea');
      expect(next.output()).toContain('cart after   1 mug, 6 spoon');
    } finally {
      expect(await next.stop('SIGTERM', 40_000)).toEqual({ code: 0, signal: null });
    }
  });
});
