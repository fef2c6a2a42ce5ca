// Someone in between, with a certificate of his own, meets every service and every tool: none tells him anything, each waits
// by name, and no secret is in anything that a process shows (class L).
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { childEnv } from '../support/process/child-env.ts';
import type { Service, ServiceName } from '../support/process/service-process.ts';
import { createTestDirectory, removeTestDirectory } from '../support/process/test-directory.ts';
import { runTool, type ToolName } from '../support/process/tool-process.ts';
import { type Authority, createAuthority } from '../support/security/authority.ts';
import { type ManInTheMiddle, startManInTheMiddle } from '../support/security/man-in-the-middle.ts';
import { createTestEnvironment, type TestEnvironment } from '../support/stack/environment.ts';
import { waitFor } from '../support/wait.ts';

const services: readonly ServiceName[] = ['order-api', 'cdc-reader', 'cart-sink'];
const tools: readonly (readonly [ToolName, readonly string[]])[] = [
  ['audit', []],
  ['replay', ['--from-lsn', '0/1', '--dry-run']],
  ['adopt', ['reader', '--yes']],
  ['adopt', ['sink', '--yes']],
  ['parked', ['list']],
];
const word = () => `geheim-${randomBytes(9).toString('hex')}`;
const secrets = { orders: word(), carts: word(), kafka: word() };

let directory: string;
let authority: Authority;
let people: Readonly<Record<'orders' | 'carts' | 'kafka', ManInTheMiddle>>;
let environment: TestEnvironment;
let login: Readonly<Record<string, string>>;

beforeAll(async () => {
  directory = createTestDirectory('man-in-the-middle');
  authority = createAuthority(directory);
  // For the right host, by an authority that nobody here trusts.
  const certificate = createAuthority(directory, 'stranger').sign('127.0.0.1', { names: 'IP:127.0.0.1' });
  people = {
    orders: await startManInTheMiddle('postgres', certificate),
    carts: await startManInTheMiddle('postgres', certificate),
    kafka: await startManInTheMiddle('kafka', certificate),
  };
  environment = await createTestEnvironment('in_between');
  login = {
    KAFKA_SECURITY_PROTOCOL: 'sasl_ssl',
    KAFKA_SASL_MECHANISM: 'PLAIN',
    KAFKA_SASL_USERNAME: 'tillstream',
    KAFKA_SASL_PASSWORD: secrets.kafka,
    KAFKA_SSL_CA_LOCATION: authority.ca,
    KAFKA_BROKERS: `127.0.0.1:${people.kafka.port}`,
  };
});
afterEach(() => environment.stopServices());
afterAll(async () => {
  await environment?.cleanUp();
  for (const one of Object.values(people)) one.close();
  removeTestDirectory(directory);
});

const urlTo = (who: 'orders' | 'carts', mode: string) =>
  `postgres://tillstream:${secrets[who]}@127.0.0.1:${people[who].port}/${who}?sslmode=${mode}&sslrootcert=${authority.ca}`;

function expectNoSecret(...outputs: readonly string[]): void {
  for (const output of outputs) {
    for (const secret of Object.values(secrets)) expect(output).not.toContain(secret);
  }
}

/** What a running process shows of itself. */
async function shownBy(service: Service): Promise<string[]> {
  const get = async (path: string) => (await fetch(service.url + path)).text();
  const pages = ['/health/live', '/health/ready', '/health/pipeline', '/metrics'].filter(
    (path) => !(path === '/health/pipeline' && service.name === 'order-api'),
  );
  const title =
    readFileSync(`/proc/${service.pid}/cmdline`, 'utf8') + readFileSync(`/proc/${service.pid}/comm`, 'utf8');
  return [...(await Promise.all(pages.map(get))), title, JSON.stringify(service.logs), service.output.join('\n')];
}

const countHandshakes = () => Object.values(people).reduce((sum, { handshakes }) => sum + handshakes(), 0);

function expectNothingHeard(): void {
  for (const [who, one] of Object.entries(people)) expect(one.heard().toString('latin1'), who).toBe('');
}

describe.each(['verify-ca', 'verify-full', 'require'])('in place of both databases and Kafka, sslmode=%s', (mode) => {
  const env = () => ({ ...login, ORDER_DATABASE_URL: urlTo('orders', mode), CART_DATABASE_URL: urlTo('carts', mode) });

  it.each(services)('he hears nothing from %s, which waits by name', async (name) => {
    const service = await environment.startService(name, env());
    await waitFor(
      `${name} to name what it waits for`,
      () => [...service.logs].some((entry) => JSON.stringify(entry).includes('TLS_UNKNOWN_CA')),
      { deadlineMs: 30_000 },
    );
    expectNothingHeard();
    expectNoSecret(...(await shownBy(service)));
  });
});

describe('in place of both databases and Kafka', () => {
  const env = () => ({
    ...environment.env,
    ...login,
    ORDER_DATABASE_URL: urlTo('orders', 'verify-full'),
    CART_DATABASE_URL: urlTo('carts', 'verify-full'),
  });

  it.each(tools)('he hears nothing from npm run %s %j', async (tool, args) => {
    const before = countHandshakes();
    const { code, stdout, stderr } = await runTool(tool, args, env(), { killAfterMs: 60_000 });
    expect(code, stderr).toBeGreaterThan(0);
    expect(stderr).toMatch(/not signed by an authority that .* names/);
    expect(countHandshakes()).toBeGreaterThan(before);
    expectNothingHeard();
    expectNoSecret(stdout, stderr);
  });

  it('he hears nothing from npm run migrate', async () => {
    const run = promisify(execFile)(process.execPath, ['tools/migrate.ts'], { env: { ...childEnv(), ...env() } });
    const { code, stdout, stderr } = (await run.catch((error) => error)) as {
      code?: number;
      stdout: string;
      stderr: string;
    };
    expect(code).toBe(1);
    expectNothingHeard();
    expectNoSecret(stdout, stderr);
  });
});

describe('in place of Kafka alone', () => {
  it.each(['cdc-reader', 'cart-sink'] as const)('he hears nothing from %s, which waits by name', async (name) => {
    await (await environment.startService('order-api')).waitReady();
    const before = people.kafka.handshakes();
    const service = await environment.startService(name, login);
    await waitFor(
      `${name} to name what it waits for`,
      async () => (await (await fetch(`${service.url}/health/pipeline`)).text()).includes('TLS_UNKNOWN_CA'),
      { deadlineMs: 60_000 },
    );
    expect(people.kafka.handshakes()).toBeGreaterThan(before);
    expectNothingHeard();
    expectNoSecret(...(await shownBy(service)));
  });

  it.each(tools.filter(([tool]) => tool !== 'parked'))('he hears nothing from npm run %s %j', async (tool, args) => {
    const { stdout, stderr } = await runTool(tool, args, { ...environment.env, ...login }, { killAfterMs: 60_000 });
    expectNothingHeard();
    expectNoSecret(stdout, stderr);
  });
});

describe('a secret that is wrong, or in the wrong place,', () => {
  const bad: readonly (readonly [string, () => Record<string, string>])[] = [
    [
      'a password with a slash',
      () => ({
        ORDER_DATABASE_URL: `postgres://u:${secrets.orders}/x@h/d`,
        CART_DATABASE_URL: `postgres://u:${secrets.carts}/x@h/d`,
      }),
    ],
    ['a URL that is none', () => ({ ORDER_DATABASE_URL: secrets.orders, CART_DATABASE_URL: secrets.carts })],
    [
      'a key that is none',
      () => ({ ORDER_DATABASE_SSL_CA_LOCATION: keyFile(), CART_DATABASE_SSL_CA_LOCATION: keyFile() }),
    ],
    [
      'a secret as a mechanism',
      () => ({
        KAFKA_SECURITY_PROTOCOL: secrets.kafka,
        ORDER_DATABASE_URL: secrets.orders,
        CART_DATABASE_URL: secrets.carts,
      }),
    ],
  ];
  const keyFile = (): string => {
    const path = join(directory, 'no-key');
    writeFileSync(path, Object.values(secrets).join('\n'));
    return path;
  };

  it.each(bad)('is repeated by no process: %s', async (_what, change) => {
    const values = { ...environment.env, PORT: '0', ...change() };
    for (const main of [...services.map((name) => `${name}/main.ts`), 'tools/audit/main.ts', 'tools/migrate.ts']) {
      const run = promisify(execFile)(process.execPath, [main], { env: { ...childEnv(), ...values } });
      const { code, stdout, stderr } = (await run.catch((error) => error)) as {
        code?: number;
        stdout: string;
        stderr: string;
      };
      expect(code, `${main}: ${stderr}`).toBe(78);
      expectNoSecret(stdout, stderr);
    }
  });

  it('is repeated by no process where the servers refuse it', async () => {
    const as = (url: string, secret: string) =>
      Object.assign(new URL(url), { username: 'nobody', password: secret }).href;
    const { ORDER_DATABASE_URL, CART_DATABASE_URL } = environment.env;
    const env = {
      ORDER_DATABASE_URL: as(ORDER_DATABASE_URL, secrets.orders),
      CART_DATABASE_URL: as(CART_DATABASE_URL, secrets.carts),
    };
    for (const name of services) {
      const service = await environment.startService(name, { ...env, LOG_LEVEL: 'trace' });
      await waitFor(
        `${name} to be refused`,
        () => [...service.logs].some((entry) => JSON.stringify(entry).includes('nobody')),
        {
          deadlineMs: 30_000,
        },
      );
      expectNoSecret(...(await shownBy(service)));
    }
  });
});
