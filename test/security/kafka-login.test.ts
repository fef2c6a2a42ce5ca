// Each way to encrypt and log in to Kafka, on a real broker with access lists and sessions of seconds: for kafkajs's clients
// and the protocol code of our own, and under the name that each failure waits for a person by (class L).
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { createKafkaClient } from '#kafka/client.ts';
import { classifyKafkaFailure } from '#kafka/failure.ts';
import { createTransactionalProducer } from '#kafka/producer/transactional-producer.ts';
import { createKafkaLog } from '#kafka/reading/log.ts';
import type { KafkaServers } from '#kafka/servers.ts';
import { kafkaOf, kafkaVariables } from '#kafka/variables.ts';
import { readEnvironment } from '#service/environment.ts';
import { silentLogger, withKafkaAdmin } from '../support/kafka/admin.ts';
import { createOrderLoad, fillCarts } from '../support/load/order-load.ts';
import { assertClean } from '../support/oracle/oracle.ts';
import { createTestDirectory, removeTestDirectory } from '../support/process/test-directory.ts';
import { type Authority, createAuthority } from '../support/security/authority.ts';
import { kafkaGuest, kafkaUser, type SecureKafka, startSecureKafka } from '../support/security/secure-kafka.ts';
import { startTokenEndpoint, type TokenEndpointServer } from '../support/security/token-endpoint.ts';
import { createTestEnvironment } from '../support/stack/environment.ts';
import { createEnvironmentOracle } from '../support/stack/pipeline-stage.ts';
import { startReader, startSink } from '../support/stack/start-services.ts';
import { waitFor } from '../support/wait.ts';

const password = 'Correct-Horse-8';
const clientSecret = 'token-secret-9';
const topic = 'security';
const sessionMs = 3_000;

let directory: string;
let authority: Authority;
let stranger: Authority;
let secure: SecureKafka;
let endpoint: TokenEndpointServer;
type Env = Record<string, string>;
let envOf: Readonly<Record<string, Env>>;

beforeAll(async () => {
  directory = createTestDirectory('kafka-login');
  authority = createAuthority(directory);
  stranger = createAuthority(directory, 'stranger');
  const certificate = authority.sign('127.0.0.1', { names: 'IP:127.0.0.1' });
  secure = await startSecureKafka({ directory, authority, certificate, password, sessionMs });
  endpoint = await startTokenEndpoint({
    certificate,
    clientId: 'tillstream',
    clientSecret,
    subject: kafkaUser,
    lifeS: 4,
  });
  await withKafkaAdmin(secure.bootstrap('INTERNAL'), async (admin) => {
    await admin.createTopics({ topics: [{ topic, numPartitions: 1 }] });
  });
  const client = authority.sign(kafkaUser, { keyPassword: 'key-password' });
  const user = { KAFKA_SASL_USERNAME: kafkaUser, KAFKA_SASL_PASSWORD: password };
  const tls = { KAFKA_SECURITY_PROTOCOL: 'sasl_ssl', KAFKA_SSL_CA_LOCATION: authority.ca };
  const on = (listener: Parameters<SecureKafka['bootstrap']>[0]) => ({ KAFKA_BROKERS: secure.bootstrap(listener) });
  const clear = { ...on('CLEAR'), KAFKA_SECURITY_PROTOCOL: 'SASL_PLAINTEXT' };
  envOf = {
    'a client certificate': {
      ...on('MTLS'),
      KAFKA_SECURITY_PROTOCOL: 'ssl',
      KAFKA_SSL_CA_LOCATION: authority.ca,
      KAFKA_SSL_CERTIFICATE_LOCATION: client.certificate,
      KAFKA_SSL_KEY_LOCATION: client.key,
      KAFKA_SSL_KEY_PASSWORD: 'key-password',
    },
    'SCRAM-SHA-256 by TLS': { ...on('SCRAM'), ...tls, ...user, KAFKA_SASL_MECHANISM: 'SCRAM-SHA-256' },
    'SCRAM-SHA-512 by TLS': { ...on('SCRAM'), ...tls, ...user, KAFKA_SASL_MECHANISM: 'scram-sha-512' },
    'PLAIN by TLS': { ...on('PASSWORD'), ...tls, ...user, KAFKA_SASL_MECHANISM: 'PLAIN' },
    'OAUTHBEARER by TLS': {
      ...on('OAUTH'),
      ...tls,
      KAFKA_SASL_MECHANISM: 'OAUTHBEARER',
      KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL: endpoint.url,
      KAFKA_SASL_OAUTHBEARER_CLIENT_ID: 'tillstream',
      KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET: clientSecret,
      KAFKA_HTTPS_CA_LOCATION: authority.ca,
    },
    'SCRAM-SHA-256 without TLS': { ...clear, ...user, KAFKA_SASL_MECHANISM: 'SCRAM-SHA-256' },
    'PLAIN without TLS, where it is allowed': {
      ...clear,
      ...user,
      KAFKA_SASL_MECHANISM: 'PLAIN',
      KAFKA_ALLOW_CLEARTEXT_PASSWORD: 'yes',
    },
  };
});
afterAll(async () => {
  endpoint?.close();
  await secure?.close();
  removeTestDirectory(directory);
});

const serversOf = (env: Env): KafkaServers => kafkaOf(readEnvironment(kafkaVariables, env));

const clients: Readonly<Record<string, (kafka: KafkaServers) => Promise<unknown>>> = {
  'kafkajs’s client': async (kafka) => {
    const admin = createKafkaClient({ kafka, clientId: 'test', logger: silentLogger, retry: { retries: 2 } }).admin();
    await admin.connect();
    await admin.fetchTopicOffsets(topic).finally(() => admin.disconnect());
  },
  'our log': async (kafka) => {
    const log = await createKafkaLog({ kafka, clientId: 'test', logger: silentLogger });
    await log.readOffsets(topic, 3_000).finally(() => log.close());
  },
  'our producer': async (kafka) => {
    const options = {
      clientId: 'test',
      transactionalId: 'security',
      transactionTimeoutMs: 5_000,
      requestTimeoutMs: 5_000,
    };
    const producer = await createTransactionalProducer({ kafka, ...options, logger: silentLogger });
    await producer.close();
  },
};

describe.each(Object.keys(clients))('%s', (name) => {
  const connect = clients[name]!;
  const ways = [
    'a client certificate',
    'SCRAM-SHA-256 by TLS',
    'SCRAM-SHA-512 by TLS',
    'PLAIN by TLS',
    'OAUTHBEARER by TLS',
  ];

  it.each([...ways, 'SCRAM-SHA-256 without TLS', 'PLAIN without TLS, where it is allowed'])(
    'logs in by %s',
    async (way) => {
      await connect(serversOf(envOf[way]!));
    },
  );

  it.each<[string, string, () => Env, string, RegExp]>([
    [
      'a broker of another authority',
      'PLAIN by TLS',
      () => ({ KAFKA_SSL_CA_LOCATION: stranger.ca }),
      'TLS_UNKNOWN_CA',
      /KAFKA_SSL_CA_LOCATION/,
    ],
    [
      'another host name',
      'PLAIN by TLS',
      () => ({ KAFKA_BROKERS: secure.bootstrap('PASSWORD').replace('127.0.0.1', 'localhost') }),
      'TLS_HOST_NAME',
      /KAFKA_BROKERS/,
    ],
    [
      'an expired certificate',
      'a client certificate',
      () => ({ KAFKA_BROKERS: secure.bootstrap('EXPIRED') }),
      'TLS_CERTIFICATE_EXPIRED',
      /renew/,
    ],
    [
      'a wrong password of SCRAM',
      'SCRAM-SHA-512 by TLS',
      () => ({ KAFKA_SASL_PASSWORD: 'wrong' }),
      'KAFKA_AUTHENTICATION',
      /KAFKA_SASL_PASSWORD/,
    ],
    [
      'a wrong password of PLAIN',
      'PLAIN by TLS',
      () => ({ KAFKA_SASL_PASSWORD: 'wrong' }),
      'KAFKA_AUTHENTICATION',
      /KAFKA_SASL_PASSWORD/,
    ],
    [
      'a mechanism that is not offered',
      'PLAIN by TLS',
      () => ({ KAFKA_BROKERS: secure.bootstrap('SCRAM') }),
      'KAFKA_MECHANISM',
      /KAFKA_SASL_MECHANISM/,
    ],
    [
      'a missing client certificate',
      'a client certificate',
      () => ({ KAFKA_SSL_CERTIFICATE_LOCATION: '', KAFKA_SSL_KEY_LOCATION: '', KAFKA_SSL_KEY_PASSWORD: '' }),
      'TLS_CLIENT_CERTIFICATE',
      /KAFKA_SSL_CERTIFICATE_LOCATION/,
    ],
    [
      'a wrong secret of the token endpoint',
      'OAUTHBEARER by TLS',
      () => ({ KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET: 'wrong' }),
      'KAFKA_TOKEN_REFUSED',
      /CLIENT_SECRET/,
    ],
    [
      'a missing grant',
      'SCRAM-SHA-512 by TLS',
      () => ({ KAFKA_SASL_USERNAME: kafkaGuest }),
      'KAFKA_AUTHORIZATION',
      /READ|WRITE/,
    ],
  ])('waits by name for %s', async (_what, way, change, code, remedy) => {
    const failure = await connect(serversOf({ ...envOf[way]!, ...change() })).then(
      () => new Error('connected'),
      (error: Error) => error,
    );
    const found = classifyKafkaFailure(failure);
    expect(found, failure.message).toMatchObject({ kind: 'waiting', name: code });
    expect(`${failure.message} ${(found as { remedy: string }).remedy}`).toMatch(remedy);
    expect(failure.message).not.toContain(password);
  });
});

it('a token is fetched again before it expires, and one serves many connections', async () => {
  const kafka = serversOf(envOf['OAUTHBEARER by TLS']!);
  const before = endpoint.tokensGiven();
  await Promise.all(Array.from({ length: 5 }, () => clients['our log']!(kafka)));
  expect(endpoint.tokensGiven() - before).toBeLessThanOrEqual(2);
});

describe('reader and sink', () => {
  it('lose nothing while every connection logs in again every few seconds, by SCRAM', async () => {
    const shared = inject('servers');
    const servers = { ...shared, brokers: secure.bootstrap('SCRAM'), directBrokers: secure.bootstrap('INTERNAL') };
    const environment = await createTestEnvironment('reauthenticate', servers);
    const { env } = environment;
    const secrets = join(directory, 'secrets');
    mkdirSync(secrets);
    const passwordFile = join(secrets, 'kafka-password');
    writeFileSync(passwordFile, 'not yet the right one\n');
    const { KAFKA_SASL_PASSWORD: _, ...login } = envOf['SCRAM-SHA-512 by TLS']!;
    const more = { ...login, KAFKA_SASL_PASSWORD_FILE: passwordFile };
    try {
      const oracle = createEnvironmentOracle(environment, { carts: true });
      await (await environment.startService('order-api')).waitReady();
      const reader = await startReader(environment, { more });
      const sink = await startSink(environment, { more });
      // A wrong password waits by name in both, and the right one is taken up without a restart.
      for (const service of [reader, sink]) {
        await waitFor(
          `${service.name} to wait for the password`,
          async () =>
            JSON.stringify(await (await fetch(`${service.url}/health/pipeline`)).json()).includes(
              'KAFKA_AUTHENTICATION',
            ),
          { deadlineMs: 30_000 },
        );
      }
      writeFileSync(passwordFile, `${password}\n`);
      await reader.waitForLog('reader.streaming', { deadlineMs: 60_000 });
      await fillCarts({ first: 0, count: 4_000, cartsUrl: env.CART_DATABASE_URL });
      await oracle.openCarts();
      const load = await createOrderLoad({ ordersUrl: env.ORDER_DATABASE_URL });
      const from = reader.logs.length;
      const endMs = performance.now() + 5 * sessionMs;
      let placed = 0;
      for (; performance.now() < endMs && placed < 4_000; placed += 20)
        await load.backlog({ first: placed, count: 20 });
      await oracle.waitUntilDrained(60_000);
      assertClean(await oracle.check());
      expect(placed).toBeGreaterThan(500);
      // A session that is not renewed in time is closed by the broker, and the reader would have begun again.
      expect(reader.logs.slice(from).filter(({ event }) => event === 'reader.streaming')).toEqual([]);
      await load.close();
    } finally {
      await environment.cleanUp();
    }
  });
});
