// One of each from `npm run test:security`, quick enough for every run: TLS to a real Postgres, TLS and a login to a real
// Kafka, right and wrong.
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { classifyKafkaFailure } from '#kafka/failure.ts';
import { createKafkaLog } from '#kafka/reading/log.ts';
import { kafkaOf, kafkaVariables } from '#kafka/variables.ts';
import { createDatabase } from '#service/database.ts';
import { readEnvironment } from '#service/environment.ts';
import { classifyFailure } from '#service/failure.ts';
import { type DatabaseServer, serverOf } from '#service/postgres/database-server.ts';
import { readIdentity } from '../../../cdc-reader/postgres/slot.ts';
import { silentLogger } from '../../support/kafka/admin.ts';
import { createTestDirectory, removeTestDirectory } from '../../support/process/test-directory.ts';
import { type Authority, createAuthority } from '../../support/security/authority.ts';
import { kafkaUser, type SecureKafka, startSecureKafka } from '../../support/security/secure-kafka.ts';
import { createTlsPostgres, type TlsPostgres } from '../../support/security/tls-postgres.ts';

const password = 'Correct-Horse-6';
let directory: string;
let authority: Authority;
let stranger: Authority;
let postgres: TlsPostgres;
let kafka: SecureKafka;

beforeAll(async () => {
  directory = createTestDirectory('security');
  authority = createAuthority(directory);
  stranger = createAuthority(directory, 'stranger');
  const certificate = authority.sign('127.0.0.1', { names: 'IP:127.0.0.1' });
  const rules = ['hostssl all by_tls 127.0.0.1/32 scram-sha-256'];
  postgres = await createTlsPostgres({
    directory: join(directory, 'postgres'),
    certificate,
    clientCa: authority.ca,
    rules,
  });
  await postgres.query(`CREATE ROLE by_tls LOGIN SUPERUSER PASSWORD '${password}'`);
  kafka = await startSecureKafka({ directory, authority, certificate, password, sessionMs: 5_000 });
});
afterAll(async () => {
  await kafka?.close();
  await postgres?.close();
  removeTestDirectory(directory);
});

describe.each<[string, (server: DatabaseServer) => Promise<unknown>]>([
  [
    'the pool',
    async (server) => {
      const limits = { statementTimeoutMs: 0, lockTimeoutMs: 0, idleInTransactionTimeoutMs: 0 };
      const times = { connectTimeoutMs: 5_000, acquireTimeoutMs: 10_000, poolSize: 1 };
      const names = { applicationName: 'test', logger: silentLogger };
      const database = createDatabase({ postgres: server, ...limits, ...times, ...names });
      await database.ping().finally(() => database.close());
    },
  ],
  ['the walsender', (server) => readIdentity({ postgres: server, applicationName: 'test' })],
])('%s of Postgres', (_name, connect) => {
  const serverBy = (ca: string) =>
    serverOf(
      `postgres://by_tls:${password}@127.0.0.1:${postgres.postgres.port}/postgres?sslmode=verify-full&sslrootcert=${ca}`,
    );

  it('connects to a server that is signed for, and to no other', async () => {
    await connect(serverBy(authority.ca));
    const failure = await connect(serverBy(stranger.ca)).catch((error: unknown) => error);
    expect(classifyFailure(failure)).toMatchObject({ kind: 'waiting', name: 'TLS_UNKNOWN_CA' });
  });
});

describe('a client of Kafka', () => {
  const logIn = async (env: Record<string, string>) => {
    const values = readEnvironment(kafkaVariables, {
      KAFKA_BROKERS: kafka.bootstrap('SCRAM'),
      KAFKA_SECURITY_PROTOCOL: 'sasl_ssl',
      KAFKA_SASL_MECHANISM: 'SCRAM-SHA-512',
      KAFKA_SASL_USERNAME: kafkaUser,
      KAFKA_SASL_PASSWORD: password,
      KAFKA_SSL_CA_LOCATION: authority.ca,
      ...env,
    });
    await (await createKafkaLog({ kafka: kafkaOf(values), clientId: 'test', logger: silentLogger })).close();
  };

  it.each([
    ['a wrong password', () => ({ KAFKA_SASL_PASSWORD: 'wrong' }), 'KAFKA_AUTHENTICATION'],
    ['another authority', () => ({ KAFKA_SSL_CA_LOCATION: stranger.ca }), 'TLS_UNKNOWN_CA'],
  ] as const)('logs in, and waits by name for %s', async (_what, change, name) => {
    await logIn({});
    const failure = await logIn(change()).catch((error: unknown) => error);
    expect(classifyKafkaFailure(failure)).toMatchObject({ kind: 'waiting', name });
  });
});
