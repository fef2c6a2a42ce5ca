// `npm run migrate` as a process, on empty databases.
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createTestEnvironment, type TestEnvironment, withServer } from '../../support/stack/environment.ts';

const tool = join(import.meta.dirname, '..', '..', '..', 'tools', 'migrate.ts');

/** Runs the tool with nothing but `env`. */
function migrate(env: Readonly<Record<string, string>>): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [tool], { env: { PATH: process.env.PATH, ...env } }, (_, stdout, stderr) =>
      resolve({ code: child.exitCode ?? -1, stdout, stderr }),
    );
  });
}

describe('npm run migrate', () => {
  let environment: TestEnvironment;
  let urls: Record<'ORDER_DATABASE_URL' | 'CART_DATABASE_URL', string>;

  beforeAll(async () => {
    environment = await createTestEnvironment('migrate');
    const { ORDER_DATABASE_URL, CART_DATABASE_URL } = environment.env;
    urls = { ORDER_DATABASE_URL, CART_DATABASE_URL };
  });

  afterAll(() => environment.cleanUp());

  it('refuses to run without a database, and with a bad URL that it does not repeat', async () => {
    expect(await migrate({})).toMatchObject({ code: 78, stdout: '' });
    const { code, stderr } = await migrate({ CART_DATABASE_URL: 'mysql://me:secret@host/db', PUBLICATION_NAME: 'A b' });
    expect(code).toBe(78);
    expect(stderr).toContain('CART_DATABASE_URL');
    expect(stderr).toContain('PUBLICATION_NAME');
    expect(stderr).not.toContain('secret');
  });

  it('says whose database is away and ends with 1', async () => {
    const { code, stderr } = await migrate({ CART_DATABASE_URL: 'postgres://me:secret@127.0.0.1:1/carts' });
    expect(code).toBe(1);
    expect(stderr).toMatch(/^migrate: carts database: .*ECONNREFUSED/);
    expect(stderr).not.toContain('secret');
  });

  it('brings both databases up to date, the publication included, and does nothing the next time', async () => {
    const env = { ...urls, PUBLICATION_NAME: environment.env.PUBLICATION_NAME };
    const first = await migrate(env);
    expect(first.stderr).toBe('');
    expect(first.stdout).toMatch(/^orders database: applied 0001_orders.*; publication \S+ created$/m);
    expect(first.stdout).toMatch(/^carts database: applied 0001_carts/m);
    const published = await withServer(urls.ORDER_DATABASE_URL, (client) =>
      client.query('SELECT tablename FROM pg_publication_tables WHERE pubname = $1 ORDER BY 1', [env.PUBLICATION_NAME]),
    );
    expect(published.rows).toEqual([{ tablename: 'order_items' }, { tablename: 'orders' }]);
    expect(await migrate(env)).toEqual({
      code: 0,
      stdout: `orders database: up to date; publication ${env.PUBLICATION_NAME} is there\ncarts database: up to date\n`,
      stderr: '',
    });
  });
});
