// The pipeline on a broker with access lists, under exactly the grants of ops/kafka/acls.sh: everything works, nothing else is
// allowed, and a grant that is missing waits by name until it is given back (class L).
import { AclOperationTypes, AclPermissionTypes, AclResourceTypes, ResourcePatternTypes } from 'kafkajs';
import { afterAll, afterEach, beforeAll, describe, expect, inject, it } from 'vitest';
import { createKafkaClient } from '#kafka/client.ts';
import { classifyKafkaFailure } from '#kafka/failure.ts';
import { kafkaOf, kafkaVariables } from '#kafka/variables.ts';
import { readEnvironment } from '#service/environment.ts';
import { silentLogger } from '../support/kafka/admin.ts';
import { createOrderLoad, fillCarts, type OrderLoad } from '../support/load/order-load.ts';
import { assertClean, type Oracle } from '../support/oracle/oracle.ts';
import { migrateTestOrders } from '../support/postgres/order-database.ts';
import type { Service } from '../support/process/service-process.ts';
import { createTestDirectory, removeTestDirectory } from '../support/process/test-directory.ts';
import { runTool } from '../support/process/tool-process.ts';
import { createAuthority } from '../support/security/authority.ts';
import { changeGrant, type Grant, grantAcls, listGrants, makeKafkaCommand } from '../support/security/kafka-acls.ts';
import { type SecureKafka, startSecureKafka } from '../support/security/secure-kafka.ts';
import { createTestEnvironment, type TestEnvironment } from '../support/stack/environment.ts';
import { createEnvironmentOracle } from '../support/stack/pipeline-stage.ts';
import { startReader, startSink } from '../support/stack/start-services.ts';
import { waitFor } from '../support/wait.ts';

const password = 'Correct-Horse-7';
const { READ, WRITE } = AclOperationTypes;
const { GROUP, TOPIC, TRANSACTIONAL_ID } = AclResourceTypes;

let directory: string;
let secure: SecureKafka;
let environment: TestEnvironment;
let oracle: Oracle;
let load: OrderLoad;
let acls: Record<string, string>;
let placed = 0;

const loginOf = (user: string) => ({
  KAFKA_SECURITY_PROTOCOL: 'sasl_plaintext',
  KAFKA_BROKERS: secure.bootstrap('CLEAR'),
  KAFKA_SASL_MECHANISM: 'SCRAM-SHA-256',
  KAFKA_SASL_USERNAME: user,
  KAFKA_SASL_PASSWORD: password,
});

beforeAll(async () => {
  directory = createTestDirectory('kafka-acls');
  const authority = createAuthority(directory);
  const certificate = authority.sign('127.0.0.1', { names: 'IP:127.0.0.1' });
  const users = ['reader', 'sink', 'tools'];
  secure = await startSecureKafka({ directory, authority, certificate, password, sessionMs: 600_000, users });
  const bootstrap = secure.bootstrap('INTERNAL');
  environment = await createTestEnvironment('acls', {
    ...inject('servers'),
    brokers: bootstrap,
    directBrokers: bootstrap,
  });
  acls = { ...environment.env, KAFKA_ACLS: await makeKafkaCommand(directory, 'kafka-acls.sh') };
  await grantAcls(acls);
  oracle = createEnvironmentOracle(environment, { carts: true });
  await migrateTestOrders(environment.env.ORDER_DATABASE_URL, environment.env.PUBLICATION_NAME);
  load = await createOrderLoad({ ordersUrl: environment.env.ORDER_DATABASE_URL });
});
afterAll(async () => {
  await load?.close();
  await environment?.cleanUp();
  await secure?.close();
  removeTestDirectory(directory);
});

afterEach(() => environment?.stopServices());

const start = {
  reader: () => startReader(environment, { more: loginOf('reader') }),
  sink: () => startSink(environment, { more: loginOf('sink') }),
};

async function requireFlow(): Promise<void> {
  await load.backlog({ first: placed, count: 20 });
  placed += 20;
  await oracle.waitUntilDrained(60_000);
  assertClean(await oracle.check());
}

describe('under exactly the grants of acls.sh', () => {
  it('the reader makes the topics, orders leave the carts, audit and replay do their work', async () => {
    const [reader, sink] = [await start.reader(), await start.sink()];
    await reader.waitForLog('reader.streaming', { deadlineMs: 60_000 });
    await sink.waitReady();
    await fillCarts({ first: 0, count: 400, cartsUrl: environment.env.CART_DATABASE_URL });
    await oracle.openCarts();
    await requireFlow();
    const env = { ...environment.env, ...loginOf('tools') };
    const audit = await runTool('audit', [], env);
    expect(audit, audit.stdout).toMatchObject({ code: 0 });
    const replay = await runTool('replay', ['--from-lsn', '0/1', '--yes'], env);
    expect(replay.code, replay.stdout + replay.stderr).toBe(0);
    await requireFlow();
    const entries = [reader, sink].flatMap(({ logs }) => logs.map((entry) => JSON.stringify(entry)));
    expect(entries.filter((text) => /AUTHORIZATION/i.test(text))).toEqual([]);
  });

  it('nothing changes when it is run again, and nothing is granted on the cluster', async () => {
    const before = await listGrants(secure.bootstrap('INTERNAL'));
    await grantAcls(acls);
    expect(await listGrants(secure.bootstrap('INTERNAL'))).toEqual(before);
    expect(before.filter((grant) => grant.includes(' CLUSTER '))).toEqual([]);
    expect(before).toHaveLength(22);
  });
});

describe('a principal', () => {
  const clientOf = (user: string) =>
    createKafkaClient({
      kafka: kafkaOf(readEnvironment(kafkaVariables, loginOf(user))),
      clientId: 'test',
      logger: silentLogger,
      retry: { retries: 1 },
    });
  const write = async (user: string, topic: string) => {
    const producer = clientOf(user).producer({ allowAutoTopicCreation: false });
    await producer.connect();
    await producer.send({ topic, messages: [{ value: 'x' }] }).finally(() => producer.disconnect());
  };
  const withAdminOf = async (
    user: string,
    use: (admin: ReturnType<ReturnType<typeof clientOf>['admin']>) => Promise<unknown>,
  ) => {
    const admin = clientOf(user).admin();
    await admin.connect();
    await use(admin).finally(() => admin.disconnect());
  };

  const everything = {
    principal: 'User:tools',
    host: '*',
    operation: AclOperationTypes.ALL,
    permissionType: AclPermissionTypes.ALLOW,
    resourceType: TOPIC,
    resourceName: '*',
    resourcePatternType: ResourcePatternTypes.LITERAL,
  };

  /** docs/failures.md lists the same. */
  it.each<[string, string, () => Promise<unknown>]>([
    ['reader', 'write to the replay topic', () => write('reader', environment.env.REPLAY_TOPIC)],
    [
      'reader',
      'delete a topic',
      () => withAdminOf('reader', (admin) => admin.deleteTopics({ topics: [environment.env.ORDERS_TOPIC] })),
    ],
    ['sink', 'write to the live topic', () => write('sink', environment.env.ORDERS_TOPIC)],
    ['sink', 'write to the checkpoint topic', () => write('sink', environment.env.CHECKPOINT_TOPIC)],
    ['sink', 'write to the replay topic', () => write('sink', environment.env.REPLAY_TOPIC)],
    [
      'sink',
      'create a topic',
      () => withAdminOf('sink', (admin) => admin.createTopics({ topics: [{ topic: 'mine' }] })),
    ],
    [
      'sink',
      'delete a topic',
      () => withAdminOf('sink', (admin) => admin.deleteTopics({ topics: [environment.env.ORDERS_TOPIC] })),
    ],
    ['tools', 'write to the live topic', () => write('tools', environment.env.ORDERS_TOPIC)],
    ['tools', 'write to the checkpoint topic', () => write('tools', environment.env.CHECKPOINT_TOPIC)],
    ['tools', 'grant', () => withAdminOf('tools', (admin) => admin.createAcls({ acl: [everything] }))],
  ])('%s may not %s', async (_user, _what, attempt) => {
    const failure = await attempt().then(
      () => new Error('it was allowed'),
      (error: Error) => error,
    );
    expect(classifyKafkaFailure(failure), failure.message).toMatchObject({
      kind: 'waiting',
      name: 'KAFKA_AUTHORIZATION',
    });
  });
});

describe('a grant that is missing', () => {
  const waitsByName = (service: Service) =>
    environment.explain(
      waitFor(
        `${service.name} to wait for a grant`,
        async () => {
          const answer = await (await fetch(`${service.url}/health/pipeline`)).text();
          return answer.includes('KAFKA_AUTHORIZATION') || Promise.reject(new Error(answer));
        },
        { deadlineMs: 25_000 },
      ),
    );

  it.each<['reader' | 'sink', string, (env: TestEnvironment['env']) => Omit<Grant, 'principal'>]>([
    [
      'reader',
      'READ on the live topic',
      (env) => ({ operation: READ, resourceType: TOPIC, resourceName: env.ORDERS_TOPIC }),
    ],
    [
      'reader',
      'READ on the checkpoint topic',
      (env) => ({ operation: READ, resourceType: TOPIC, resourceName: env.CHECKPOINT_TOPIC }),
    ],
    [
      'reader',
      'WRITE on its transactional id',
      (env) => ({
        operation: WRITE,
        resourceType: TRANSACTIONAL_ID,
        resourceName: `tillstream.cdc-reader.${env.SLOT_NAME}`,
      }),
    ],
    [
      'reader',
      'WRITE on the live topic',
      (env) => ({ operation: WRITE, resourceType: TOPIC, resourceName: env.ORDERS_TOPIC }),
    ],
    [
      'reader',
      'WRITE on the checkpoint topic',
      (env) => ({ operation: WRITE, resourceType: TOPIC, resourceName: env.CHECKPOINT_TOPIC }),
    ],
    [
      'sink',
      'READ on the live topic',
      (env) => ({ operation: READ, resourceType: TOPIC, resourceName: env.ORDERS_TOPIC }),
    ],
    [
      'sink',
      'READ on its group',
      (env) => ({ operation: READ, resourceType: GROUP, resourceName: env.CONSUMER_GROUP }),
    ],
  ])('of the %s, %s, waits by name and is taken up without a restart', async (who, _what, grantOf) => {
    const grant = { principal: `User:${who}`, ...grantOf(environment.env) };
    const brokers = secure.bootstrap('INTERNAL');
    await changeGrant(brokers, 'take', grant);
    const [reader, sink] = await Promise.all([start.reader(), start.sink()]);
    const service = who === 'reader' ? reader : sink;
    await load.backlog({ first: placed, count: 5 });
    placed += 5;
    await waitsByName(service).finally(() => changeGrant(brokers, 'give', grant));
    await requireFlow();
    expect(service.exitCode).toBeUndefined();
  });
});
