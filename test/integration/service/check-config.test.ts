// `--check-config` and `--version` of each service, on real servers.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { freePort } from '../../../dev/process/ports.ts';
import { childEnv } from '../../support/process/child-env.ts';
import { createTestEnvironment, type TestEnvironment } from '../../support/stack/environment.ts';

let environment: TestEnvironment;
beforeAll(async () => {
  environment = await createTestEnvironment('check_config');
});
afterAll(() => environment.cleanUp());

async function run(service: string, flag: string, more: Record<string, string> = {}) {
  const env = { ...childEnv(), ...environment.env, ...more };
  const ran = promisify(execFile)(process.execPath, [`${service}/main.ts`, flag], { env });
  const result = await ran.catch((error: { code: number; stdout: string; stderr: string }) => error);
  return { code: 'code' in result ? result.code : 0, stdout: result.stdout, stderr: result.stderr };
}

describe.each(['order-api', 'cdc-reader', 'cart-sink'])('%s', (service) => {
  it('prints what it finds, and ends with 0', async () => {
    const { code, stdout, stderr } = await run(service, '--check-config');
    expect(code, stdout + stderr).toBe(0);
    expect(stdout).toMatch(/version +\d+.*wal_level logical/);
    expect(stdout).toMatch(/role +postgres \(superuser, REPLICATION\)/);
    if (service !== 'order-api') expect(stdout).toMatch(/topic orders\.placed\S+ +missing/);
  });

  it('ends with 69 where a server is away, and with 78 where a login is wrong or the configuration bad', async () => {
    const away = `postgres://127.0.0.1:${await freePort()}/none`;
    expect((await run(service, '--check-config', { ORDER_DATABASE_URL: away, CART_DATABASE_URL: away })).code).toBe(69);
    const missing = environment.env.ORDER_DATABASE_URL.replace(/[^/]*$/, 'no_such_database');
    const wrong = await run(service, '--check-config', { ORDER_DATABASE_URL: missing, CART_DATABASE_URL: missing });
    expect(wrong, wrong.stdout).toMatchObject({ code: 78 });
    expect(wrong.stdout).toMatch(/DATABASE_MISSING/);
    expect((await run(service, '--check-config', { LOG_LEVEL: 'loud' })).code).toBe(78);
  });

  it('tells its version and commit', async () => {
    const { code, stdout } = await run(service, '--version', { TILLSTREAM_COMMIT: 'abc123' });
    expect({ code, stdout }).toEqual({ code: 0, stdout: `${service} 0.1.0 (commit abc123)\n` });
  });
});
