// libpq's table of sslmode on a real Postgres, for each way in which this program connects, against servers that are who
// they claim to be and servers that are not (class L).
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createDatabase } from '#service/database.ts';
import { classifyFailure } from '#service/failure.ts';
import { createLogger } from '#service/logger.ts';
import { migrate } from '#service/migrate.ts';
import { createDatabaseServer, type DatabaseServer } from '#service/postgres/database-server.ts';
import { fileSecret, fixedSecret } from '#service/security/secret.ts';
import { createReplicationStream } from '../../cdc-reader/postgres/replication-stream.ts';
import { readIdentity } from '../../cdc-reader/postgres/slot.ts';
import { readSnapshotOrders } from '../../cdc-reader/postgres/snapshot.ts';
import { createSourceSession } from '../../cdc-reader/postgres/source-session.ts';
import { createWindowSlotSession } from '../../cdc-reader/replay-window/window-slot.ts';
import { createTestDirectory, removeTestDirectory } from '../support/process/test-directory.ts';
import { type Authority, type Certificate, createAuthority } from '../support/security/authority.ts';
import { createTlsPostgres, type TlsPostgres } from '../support/security/tls-postgres.ts';

const logger = createLogger('test', 'silent');
const applicationName = 'tls-test';
const password = 'Correct-Horse-7';

/** Each connects with its own client, and ends. */
const ways: Readonly<Record<string, (postgres: DatabaseServer) => Promise<void>>> = {
  pool: async (postgres) => {
    const limits = { statementTimeoutMs: 0, lockTimeoutMs: 0, idleInTransactionTimeoutMs: 0 };
    const times = { connectTimeoutMs: 5_000, acquireTimeoutMs: 15_000 };
    const database = createDatabase({ postgres, applicationName, poolSize: 1, ...limits, ...times, logger });
    await database.ping().finally(() => database.close());
  },
  'SQL session': async (postgres) => {
    await (await createSourceSession({ postgres, applicationName, onEnd: () => undefined })).close();
  },
  'slot command': async (postgres) => {
    await readIdentity({ postgres, applicationName });
  },
  'replication stream': async (postgres) => {
    const handlers = { onMessage: () => undefined, onKeepalive: () => undefined, onFailure: () => undefined };
    const names = { slotName: 'tls', publicationName: 'none', applicationName };
    await (await createReplicationStream({ postgres, ...names, walSenderTimeoutMs: 0, handlers })).close();
  },
  'window slot': async (postgres) => {
    const names = { liveSlotName: 'tls', windowSlotName: 'none' };
    await (await createWindowSlotSession({ postgres, applicationName, ...names })).close();
  },
  snapshot: async (postgres) => {
    for await (const _ of readSnapshotOrders({ postgres, applicationName, batchSize: 1 }));
  },
  migrations: async (postgres) => {
    await migrate({ postgres, directory: none, logger });
  },
};

const modes = ['disable', 'allow', 'prefer', 'require', 'verify-ca', 'verify-full'] as const;
/** The modes without an authority, and with one: its name decides in the columns of `table`. */
const rows = [
  ...['disable', 'allow', 'prefer', 'require'].map((mode) => [mode, false] as const),
  ...modes.slice(2).map((mode) => [mode, true] as const),
];
const userOf = (mode: string, hasCa: boolean) => `u_${mode.replace('-', '_')}${hasCa ? '_ca' : ''}`;

const [tls, plain, ca, name, expired, off] = [
  'tls',
  'plain',
  'TLS_UNKNOWN_CA',
  'TLS_HOST_NAME',
  'TLS_CERTIFICATE_EXPIRED',
  'TLS_OFF',
];
/** What comes of each row, in the order of `rows`, by what the server presents. */
const table: Readonly<Record<string, readonly string[]>> = {
  // disable, allow, prefer, require; with an authority: prefer, require, verify-ca, verify-full
  right: [plain, plain, tls, tls, tls, tls, tls, tls],
  'wrong name': [plain, plain, tls, tls, tls, tls, tls, name],
  'wrong authority': [plain, plain, tls, tls, plain, ca, ca, ca],
  expired: [plain, plain, tls, tls, plain, expired, expired, expired],
  'no TLS': [plain, plain, plain, off, plain, off, off, off],
};

let directory: string;
let none: string;
let authority: Authority;
let server: TlsPostgres;
let presented: Readonly<Record<string, Certificate | undefined>>;

const serverAs = (user: string, query: string, caFile?: string, files = {}) =>
  createDatabaseServer(
    fixedSecret(
      'ORDER_DATABASE_URL',
      `postgres://${user}:${password}@127.0.0.1:${server.postgres.port}/orders?${query}`,
    ),
    {
      ...(caFile === undefined ? {} : { ca: { name: 'ORDER_DATABASE_SSL_CA_LOCATION', path: caFile } }),
      ...files,
    },
  );

beforeAll(async () => {
  directory = createTestDirectory('postgres-tls');
  none = join(directory, 'no-migrations');
  mkdirSync(none);
  authority = createAuthority(directory);
  const stranger = createAuthority(directory, 'stranger');
  const names = { names: 'DNS:localhost,IP:127.0.0.1' };
  presented = {
    right: authority.sign('localhost', names),
    'wrong name': authority.sign('other.example', { names: 'DNS:other.example' }),
    'wrong authority': stranger.sign('localhost', names),
    expired: authority.sign('localhost', { ...names, days: -1 }),
    'no TLS': undefined,
  };
  server = await createTlsPostgres({
    directory: join(directory, 'postgres'),
    certificate: presented.right!,
    clientCa: authority.ca,
    rules: [
      'hostssl all only_tls 127.0.0.1/32 scram-sha-256',
      'hostnossl all only_plain 127.0.0.1/32 scram-sha-256',
      'host all only_tls,only_plain 127.0.0.1/32 reject',
      'hostssl all by_certificate 127.0.0.1/32 cert',
      'host all all 127.0.0.1/32 scram-sha-256',
    ],
  });
  await server.query('CREATE DATABASE orders');
  const users = [...rows.map(([mode, hasCa]) => userOf(mode, hasCa)), 'only_tls', 'only_plain', 'by_certificate'];
  for (const user of users) await server.query(`CREATE ROLE ${user} LOGIN SUPERUSER PASSWORD '${password}'`);
});
afterAll(async () => {
  await server?.close();
  removeTestDirectory(directory);
});

/** `tls` or `plain` where a connection was let in, else the name of what it waits for. */
async function outcomeOf(connect: (postgres: DatabaseServer) => Promise<void>, user: string, postgres: DatabaseServer) {
  const failure = await connect(postgres).then(
    () => undefined,
    (error: unknown) => error,
  );
  return {
    failure: failure === undefined ? undefined : classifyFailure(failure),
    message: String((failure as Error | undefined)?.message),
    user,
  };
}

describe.each(Object.keys(table))('with a server that presents: %s', (what) => {
  beforeAll(() => server.present(presented[what]));

  it.each(Object.keys(ways))('each sslmode means what it means in libpq, for: %s', async (way) => {
    server.arrivals([]);
    const attempts = rows.map(([mode, hasCa]) => {
      const user = userOf(mode, hasCa);
      return outcomeOf(ways[way]!, user, serverAs(user, `sslmode=${mode}`, hasCa ? authority.ca : undefined));
    });
    const outcomes = await Promise.all(attempts);
    const arrivals = server.arrivals(outcomes.map(({ user }) => user));
    const found = outcomes.map(({ failure, user }) => {
      const how = new Set(arrivals.get(user));
      if (how.size > 0) return [...how].join(' and ');
      return failure?.kind === 'waiting' ? failure.name : JSON.stringify(failure);
    });
    expect(found).toEqual(table[what]);
    for (const { message } of outcomes) expect(message).not.toContain(password);
  });
});

describe('with a server that is who it claims to be', () => {
  beforeAll(() => server.present(presented.right));
  const connectAs = async (user: string, postgres: DatabaseServer, way = 'pool') => {
    server.arrivals([]);
    const { failure, message } = await outcomeOf(ways[way]!, user, postgres);
    return { failure, message, how: server.arrivals([user]).get(user) };
  };

  it.each(['pool', 'replication stream', 'migrations'])(
    'prefer and allow try the other way where pg_hba.conf refuses one, for: %s',
    async (way) => {
      for (const [user, how] of [
        ['only_tls', 'tls'],
        ['only_plain', 'plain'],
      ] as const) {
        for (const mode of ['prefer', 'allow']) {
          expect((await connectAs(user, serverAs(user, `sslmode=${mode}`), way)).how?.[0], `${user} ${mode}`).toBe(how);
        }
      }
      const refused = await connectAs('only_plain', serverAs('only_plain', 'sslmode=require'), way);
      expect(refused.failure).toMatchObject({ kind: 'waiting', name: 'DATABASE_AUTHENTICATION' });
    },
  );

  it('a client certificate is the login, and one that is missing or expired is named', async () => {
    const sign = (days?: number) => {
      const { certificate, key } = authority.sign('by_certificate', days === undefined ? {} : { days });
      return {
        certificate: { name: 'ORDER_DATABASE_SSL_CERTIFICATE_LOCATION', path: certificate },
        key: { name: 'ORDER_DATABASE_SSL_KEY_LOCATION', path: key },
      };
    };
    const as = (files: object) => serverAs('by_certificate', 'sslmode=verify-full', authority.ca, files);
    expect((await connectAs('by_certificate', as(sign()))).how).toEqual(['tls']);
    expect((await connectAs('by_certificate', as(sign()), 'replication stream')).how).toEqual(['tls']);
    expect((await connectAs('by_certificate', as({}))).failure).toMatchObject({ name: 'DATABASE_AUTHENTICATION' });
    const old = await connectAs('by_certificate', as(sign(-1)));
    expect(old.failure).toMatchObject({ name: 'TLS_CLIENT_CERTIFICATE' });
    expect(old.message).toContain('ORDER_DATABASE_SSL_CERTIFICATE_LOCATION');
  });

  it('a wrong password is named', async () => {
    const url = `postgres://only_tls:wrong@127.0.0.1:${server.postgres.port}/orders?sslmode=verify-full`;
    const files = { ca: { name: 'ORDER_DATABASE_SSL_CA_LOCATION', path: authority.ca } };
    const { failure } = await connectAs(
      'only_tls',
      createDatabaseServer(fixedSecret('ORDER_DATABASE_URL', url), files),
    );
    expect(failure).toMatchObject({ kind: 'waiting', name: 'DATABASE_AUTHENTICATION' });
  });

  it('a changed password, and a renewed client certificate, are in force at the next connection', async () => {
    const urlFile = join(directory, 'url');
    const at = `@127.0.0.1:${server.postgres.port}/orders?sslmode=verify-full`;
    const writeUrl = (word: string) => writeFileSync(urlFile, `postgres://only_tls:${word}${at}\n`);
    const files = { ca: { name: 'ORDER_DATABASE_SSL_CA_LOCATION', path: authority.ca } };
    writeUrl(password);
    const byPassword = createDatabaseServer(fileSecret('ORDER_DATABASE_URL_FILE', urlFile), files);
    expect((await connectAs('only_tls', byPassword)).how).toEqual(['tls']);
    await server.query(`ALTER ROLE only_tls PASSWORD 'the-new-one'`);
    expect((await connectAs('only_tls', byPassword)).failure).toMatchObject({ name: 'DATABASE_AUTHENTICATION' });
    writeUrl('the-new-one');
    for (const way of Object.keys(ways)) {
      expect((await connectAs('only_tls', byPassword, way)).how?.[0], way).toBe('tls');
    }

    const [certificate, key] = [join(directory, 'client.crt'), join(directory, 'client.key')];
    const put = (signed: Certificate): void => {
      copyFileSync(signed.certificate, certificate);
      copyFileSync(signed.key, key);
    };
    put(authority.sign('by_certificate', { days: -1 }));
    const byCertificate = serverAs('by_certificate', 'sslmode=verify-full', authority.ca, {
      certificate: { name: 'ORDER_DATABASE_SSL_CERTIFICATE_LOCATION', path: certificate },
      key: { name: 'ORDER_DATABASE_SSL_KEY_LOCATION', path: key },
    });
    expect((await connectAs('by_certificate', byCertificate)).failure).toMatchObject({
      name: 'TLS_CLIENT_CERTIFICATE',
    });
    put(authority.sign('by_certificate'));
    expect((await connectAs('by_certificate', byCertificate)).how).toEqual(['tls']);
    await server.query(`ALTER ROLE only_tls PASSWORD '${password}'`);
  });
});
