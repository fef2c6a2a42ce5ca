// compose.yaml is checked for what it must never do, and what it must always do. That it works is shown by containers.test.ts.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type ComposeService, composeServices, composeText, repository, serviceOf } from './compose-file.ts';

const passwords = [
  ...['AUDITOR', 'CART_SINK', 'KAFKA_ADMIN', 'KAFKA_READER', 'KAFKA_SINK', 'KAFKA_TOOLS', 'MIGRATOR', 'ORDER_API'],
  ...['POSTGRES', 'READER'],
].map((name) => `${name}_PASSWORD`);
const authority = './certificates/authority:/certificates:ro';
/** The passwords that `service` names, in the sequence of its variables. */
const passwordsOf = ({ environment }: ComposeService) =>
  [...new Set([...JSON.stringify(environment).matchAll(/\$\{(\w+):\?/g)].map(([, name]) => name))].sort();

describe('compose.yaml', () => {
  test('names every image by an exact tag', () => {
    for (const { image } of composeServices.values()) expect(image).toMatch(/:\d+\.\d+(\.\d+)?$/);
  });

  test('publishes ports on loopback only', () => {
    const ports = [...composeServices.values()].flatMap((service) => service.ports ?? []);
    expect(ports).toHaveLength(8);
    for (const port of ports) expect(port).toMatch(/^127\.0\.0\.1:\d+:\d+$/);
  });

  test.each(['order-api', 'cdc-reader', 'cart-sink', 'tools', 'migrate'])(
    'runs %s with the restrictions that are tested with the containers',
    (name) => {
      expect(serviceOf(name)).toMatchObject({
        user: '1000:1000',
        read_only: true,
        cap_drop: ['ALL'],
        security_opt: ['no-new-privileges:true'],
      });
    },
  );

  test('bounds memory, processes and CPU of everything, and keeps it from new privileges', () => {
    expect(composeServices.size).toBeGreaterThanOrEqual(11);
    for (const [name, service] of composeServices) {
      for (const bound of ['mem_limit', 'pids_limit', 'cpus', 'networks']) {
        expect(service[bound], `${name} without ${bound}`).toBeTruthy();
      }
      expect(service.security_opt, name).toEqual(['no-new-privileges:true']);
    }
  });

  test('bounds the WAL that slots hold, and spills to a disk', () => {
    expect(serviceOf('orders-db').command!.join(' ')).toMatch(/-c max_slot_wal_keep_size=\d+GB/);
    expect(serviceOf('cdc-reader').volumes).toEqual(['spill:/spill', authority]);
  });
});

describe('a password', () => {
  test('is in .env, which must have it', () => {
    expect(composeText).not.toMatch(/\$\{\w+(?!\w|:\?)/);
    expect([...new Set([...composeText.matchAll(/\$\{(\w+):\?/g)].map(([, name]) => name))].sort()).toEqual(passwords);
    const script = readFileSync(join(repository, 'ops', 'make-env.sh'), 'utf8');
    const made = /for name in ([A-Z_ ]+); do/.exec(script)![1]!.split(' ');
    expect(made.map((name) => `${name}_PASSWORD`).sort()).toEqual(passwords);
  });

  test('goes neither into Git nor into the image, and nor does a key', () => {
    const lines = (name: string) => readFileSync(join(repository, name), 'utf8').split('\n');
    expect(lines('.gitignore')).toEqual(
      expect.arrayContaining(['.env', '.env.new', 'certificates/', 'certificates.new/']),
    );
    // Nothing but what is listed behind it.
    const [everything, ...sent] = lines('.dockerignore').filter((line) => /^[^#]/.test(line));
    expect(everything).toBe('*');
    expect(sent.filter((line) => /env|certificates|\*/.test(line))).toEqual([]);
  });

  test('is given to those only that log in with it', () => {
    const ofRoles =
      'AUDITOR_PASSWORD CART_SINK_PASSWORD MIGRATOR_PASSWORD ORDER_API_PASSWORD POSTGRES_PASSWORD READER_PASSWORD';
    const given = [...composeServices].map(([name, service]) => [name, passwordsOf(service).join(' ')]);
    expect(Object.fromEntries(given)).toEqual({
      'orders-db': 'POSTGRES_PASSWORD',
      'carts-db': 'POSTGRES_PASSWORD',
      kafka: 'KAFKA_ADMIN_PASSWORD',
      'kafka-access': 'KAFKA_ADMIN_PASSWORD KAFKA_READER_PASSWORD KAFKA_SINK_PASSWORD KAFKA_TOOLS_PASSWORD',
      roles: ofRoles,
      grants: ofRoles,
      migrate: 'MIGRATOR_PASSWORD',
      'order-api': 'ORDER_API_PASSWORD',
      'cdc-reader': 'KAFKA_READER_PASSWORD READER_PASSWORD',
      'cart-sink': 'CART_SINK_PASSWORD KAFKA_SINK_PASSWORD',
      tools: 'KAFKA_TOOLS_PASSWORD MIGRATOR_PASSWORD READER_PASSWORD',
    });
  });
});

test('the console of the reader knows the operations addresses of the others, and reaches them', () => {
  const reader = serviceOf('cdc-reader');
  const names = { ORDER_API_OPERATIONS_URL: 'order-api', CART_SINK_OPERATIONS_URLS: 'cart-sink' };
  for (const [variable, name] of Object.entries(names)) {
    const { environment, networks } = serviceOf(name);
    expect(reader.environment[variable]).toBe(`http://${name}:${environment.OPERATIONS_PORT}`);
    expect(networks.some((network) => reader.networks.includes(network))).toBe(true);
  }
});

describe('every connection', () => {
  const databaseUrls = [...composeServices].flatMap(([name, { environment }]) =>
    Object.entries(environment).flatMap(([variable, value]) =>
      /_URL$/.test(variable) && !/_OPERATIONS_URL$/.test(variable) ? [[name, variable, value]] : [],
    ),
  ) as [string, string, string][];

  test('to Postgres checks the certificate of the server that it names', () => {
    expect(databaseUrls).toHaveLength(11);
    for (const [name, variable, url] of databaseUrls) {
      expect(url, `${name} ${variable}`).toMatch(/@(orders|carts)-db:5432\/(orders|carts)\?sslmode=verify-full$/);
      const { environment, volumes } = serviceOf(name);
      expect(environment[variable.replace('_URL', '_SSL_CA_LOCATION')] ?? environment.PGSSLROOTCERT).toBe(
        '/certificates/ca.crt',
      );
      expect(volumes, name).toContain(authority);
    }
  });

  test.each([
    ['cdc-reader', 'reader'],
    ['cart-sink', 'sink'],
    ['tools', 'tools'],
  ])('of %s to Kafka is over TLS, by SCRAM, as %s', (name, user) => {
    expect(serviceOf(name).environment).toMatchObject({
      KAFKA_BROKERS: 'kafka:9092',
      KAFKA_SECURITY_PROTOCOL: 'sasl_ssl',
      KAFKA_SSL_CA_LOCATION: '/certificates/ca.crt',
      KAFKA_SASL_MECHANISM: 'SCRAM-SHA-512',
      KAFKA_SASL_USERNAME: user,
      KAFKA_SASL_PASSWORD: `\${KAFKA_${user.toUpperCase()}_PASSWORD:?run ops/make-env.sh first}`,
    });
  });

  test('to the broker itself is over TLS and with a login on every listener', () => {
    const { environment } = serviceOf('kafka');
    const protocols = String(environment.KAFKA_LISTENER_SECURITY_PROTOCOL_MAP).split(',');
    expect(protocols.toSorted()).toEqual(
      ['BROKER', 'CONTROLLER', 'HOST', 'INTERNAL'].map((name) => `${name}:SASL_SSL`),
    );
    expect(environment).toMatchObject({
      KAFKA_SUPER_USERS: 'User:admin',
      KAFKA_ALLOW_EVERYONE_IF_NO_ACL_FOUND: 'false',
    });
    // The image would ask more of a listener whose name ends so, which these settings do not have.
    expect(String(environment.KAFKA_ADVERTISED_LISTENERS)).not.toContain('SSL://');
  });

  test('is refused by Postgres without TLS', () => {
    const rules = readFileSync(join(repository, 'ops', 'postgres', 'pg_hba.conf'), 'utf8').split('\n');
    const words = rules.filter((rule) => /^[^#]/.test(rule)).map((rule) => rule.split(/\s+/).join(' '));
    expect(words).toEqual(['local all postgres peer', 'hostssl all all all scram-sha-256']);
    for (const name of ['orders-db', 'carts-db']) {
      expect(serviceOf(name)).toMatchObject({ entrypoint: ['/ops/serve-with-tls.sh'] });
      expect(serviceOf(name).command![0]).toBe('postgres');
    }
  });

  test.each(['orders-db', 'carts-db', 'kafka'])('to %s meets a key that no other container has', (name) => {
    const mounts = (service: ComposeService) =>
      (service.volumes ?? []).filter((volume) => volume.includes('/certificates'));
    expect(mounts(serviceOf(name))).toEqual([`./certificates/${name}:/certificates:ro`]);
    const others = [...composeServices].filter(([other]) => other !== name).flatMap(([, service]) => mounts(service));
    expect(others.filter((mount) => mount.startsWith(`./certificates/${name}`))).toEqual([]);
    expect(others.filter((mount) => !/^\.\/certificates\/[\w-]+:/.test(mount))).toEqual([]);
  });
});

describe('what compose.yaml runs', () => {
  const done = { condition: 'service_completed_successfully' };

  test.each([
    ['order-api', ['orders'], { grants: done }],
    ['cdc-reader', ['events', 'orders'], { grants: done, 'kafka-access': done }],
    ['cart-sink', ['carts', 'events'], { grants: done, 'kafka-access': done }],
  ])('gives %s no migration, only the networks that it needs, and servers that know it', (name, networks, after) => {
    const service = serviceOf(name);
    expect(service.networks.toSorted()).toEqual(networks);
    expect(service.environment.MIGRATE).toBe('off');
    expect(service.depends_on).toEqual(after);
  });
});
