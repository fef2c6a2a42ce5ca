// The ground that every other real-server test stands on: servers that really stop, die and come back with their data,
// and errors that say what to do. The processes are in local-processes.test.ts.

import { mkdirSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { Kafka, logLevel } from 'kafkajs';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { PortTakenError } from '../../../dev/process/ports.ts';
import { fetchKafka, KafkaPrerequisiteError, requireJava } from '../../../dev/servers/fetch-kafka.ts';
import { createLocalPostgres, type LocalPostgres } from '../../../dev/servers/local-postgres.ts';
import { listTopics, withKafkaAdmin } from '../../support/kafka/admin.ts';
import { createKafkaRequestReader, kafkaApi } from '../../support/kafka/frames.ts';
import { type ProxiedKafka, startProxiedKafka } from '../../support/kafka/proxied-kafka.ts';
import { createTestDirectory, removeTestDirectory } from '../../support/process/test-directory.ts';
import { createTestEnvironment, withServer } from '../../support/stack/environment.ts';
import { waitFor } from '../../support/wait.ts';

function isRunning(postgres: LocalPostgres): boolean {
  try {
    return postgres.pid() > 0;
  } catch {
    return false; // pid() throws where there is none
  }
}

describe('a local Postgres', () => {
  const directory = createTestDirectory('postgres');
  let postgres: LocalPostgres;

  beforeAll(async () => {
    postgres = await createLocalPostgres({ directory: join(directory, 'server') });
    await postgres.start();
    await postgres.createDatabase('kept');
    await withServer(postgres.url('kept'), (client) => client.query('CREATE TABLE rows (number int)'));
  });
  afterAll(async () => {
    await postgres.close();
    removeTestDirectory(directory);
  });

  test('keeps committed rows over every kind of stop, and kill -9', async () => {
    const insertRow = () => withServer(postgres.url('kept'), (client) => client.query('INSERT INTO rows VALUES (1)'));
    await insertRow();
    for (const mode of ['fast', 'smart', 'immediate'] as const) {
      await postgres.restart(mode);
      await insertRow();
    }
    expect(await postgres.kill()).toEqual({ code: null, signal: 'SIGKILL' });
    await postgres.start();
    const { rows } = await withServer(postgres.url('kept'), (client) => client.query('SELECT count(*)::int FROM rows'));
    expect(rows).toEqual([{ count: 4 }]);
  });

  test('decodes logically, listens on loopback only, and takes settings for one start', async () => {
    const show = (setting: string) =>
      withServer(postgres.url('postgres'), async (client) => {
        const { rows } = await client.query('SELECT current_setting($1) AS value', [setting]);
        return (rows[0] as { value: string }).value;
      });
    expect([await show('wal_level'), await show('listen_addresses'), await show('fsync')]).toEqual([
      'logical',
      '127.0.0.1',
      'on',
    ]);
    await postgres.restart('fast', { settings: { wal_level: 'replica' } });
    expect(await show('wal_level')).toBe('replica');
    await postgres.restart('fast');
    expect(await show('wal_level')).toBe('logical');
  });

  test('a smart stop that a client holds up reports so and leaves it running', async () => {
    await withServer(postgres.url('kept'), async (client) => {
      await expect(postgres.stop('smart', { deadlineMs: 200 })).rejects.toThrow(/still runs 200 ms after SIGTERM/);
      await client.query('SELECT 1');
    });
    // The port is free a moment before the process has ended.
    await waitFor('the smart stop to end', () => !isRunning(postgres));
    await postgres.start();
  });

  test('refuses a folder whose server another object runs, and a taken port, by name', async () => {
    const second = await createLocalPostgres({ directory: join(directory, 'server') });
    await expect(second.start()).rejects.toThrow(/already runs \(process \d+\).*Stop process/);
    const third = await createLocalPostgres({ directory: join(directory, 'other'), port: postgres.port });
    await expect(third.start()).rejects.toThrow(PortTakenError);
  });

  test('refuses the data of another major version and says what to do', async () => {
    const data = join(directory, 'old', 'data');
    mkdirSync(data, { recursive: true });
    writeFileSync(join(data, 'PG_VERSION'), '13\n');
    const old = await createLocalPostgres({ directory: join(directory, 'old') });
    await expect(old.start()).rejects.toThrow(
      /made by Postgres 13.*To start from empty, without it, remove the folder/,
    );
  });
});

describe('a local Kafka behind a proxy', () => {
  const directory = createTestDirectory('kafka');
  let stack: ProxiedKafka;
  const client = () =>
    new Kafka({
      brokers: stack.kafka.bootstrap.split(','),
      logLevel: logLevel.NOTHING,
      retry: { initialRetryTime: 50 },
    });

  beforeAll(async () => {
    stack = await startProxiedKafka({ directory: join(directory, 'server') });
  });
  afterAll(async () => {
    await stack.close();
    removeTestDirectory(directory);
  });

  test('keeps its topics and messages over a clean stop and kill -9', async () => {
    const { kafka } = stack;
    await withKafkaAdmin(kafka.bootstrap, (admin) =>
      admin.createTopics({ topics: [{ topic: 'kept', numPartitions: 1 }] }),
    );
    const send = async (value: string) => {
      const producer = client().producer();
      await producer.connect();
      await producer.send({ topic: 'kept', messages: [{ value }] });
      await producer.disconnect();
    };
    await send('before the stop');
    await kafka.close();
    await kafka.start();
    await send('before kill -9');
    await kafka.kill();
    await kafka.start();
    const consumer = client().consumer({ groupId: 'reader', sessionTimeout: 6_000, maxWaitTimeInMs: 100 });
    const values: (string | undefined)[] = [];
    await consumer.connect();
    await consumer.subscribe({ topics: ['kept'], fromBeginning: true });
    await consumer.run({ eachMessage: async ({ message }) => void values.push(message.value?.toString()) });
    await waitFor('both messages', () => values.length === 2, { deadlineMs: 30_000 });
    await consumer.disconnect();
    expect(values).toEqual(['before the stop', 'before kill -9']);
  });

  test('never creates a topic by itself', async () => {
    const producer = client().producer({ retry: { retries: 1 } });
    await producer.connect();
    await expect(producer.send({ topic: 'unknown', messages: [{ value: 'x' }] })).rejects.toThrow();
    await producer.disconnect();
    expect(await listTopics(stack.kafka.directBootstrap)).not.toContain('unknown');
  });

  test('sends clients through the proxy, where a request can be recognised and held', async () => {
    const [proxy] = stack.proxies;
    const readRequests = new Map<number, ReturnType<typeof createKafkaRequestReader>>();
    let heldProduce = false;
    proxy!.onClientData((data, connection) => {
      const read = readRequests.get(connection.id) ?? createKafkaRequestReader();
      readRequests.set(connection.id, read);
      const produce = read(data).some(({ apiKey }) => apiKey === kafkaApi.produce);
      if (!produce || heldProduce) return data;
      heldProduce = true;
      return 'hold';
    });
    const producer = client().producer();
    await producer.connect();
    let sent = false;
    const sending = producer.send({ topic: 'kept', messages: [{ value: 'held' }] }).then(() => {
      sent = true;
    });
    await waitFor('the produce request to be held', () => heldProduce);
    const offsets = await withKafkaAdmin(stack.kafka.directBootstrap, (admin) => admin.fetchTopicOffsets('kept'));
    expect([offsets[0]?.high, sent]).toEqual(['2', false]);
    proxy!.onClientData(undefined);
    proxy!.release();
    await sending;
    await producer.disconnect();
  });

  test('a paused broker answers nothing until it is resumed', async () => {
    const [broker] = stack.kafka.brokers;
    broker!.pause();
    let answered = false;
    const listing = listTopics(stack.kafka.directBootstrap).then((topics) => {
      answered = true;
      return topics;
    });
    const probe = connect(broker!.directPort, '127.0.0.1');
    await new Promise((resolve) => probe.once('connect', resolve));
    probe.destroy();
    expect(answered).toBe(false);
    broker!.resume();
    expect(await listing).toContain('kept');
  });
});

describe('what a local Kafka needs', () => {
  test('without Java or Maven the error names both ways out', async () => {
    const twoWays = /install what is missing.*Java 17.*Maven.*set KAFKA_BROKERS/s;
    await expect(requireJava('no-such-java')).rejects.toThrow(KafkaPrerequisiteError);
    await expect(requireJava('no-such-java')).rejects.toThrow(twoWays);
    const cacheDirectory = createTestDirectory('cache');
    await expect(fetchKafka({ cacheDirectory, maven: 'no-such-maven' })).rejects.toThrow(twoWays);
    removeTestDirectory(cacheDirectory);
  });
});

describe('a test environment', () => {
  test('has databases of its own and takes everything away again', async () => {
    const environment = await createTestEnvironment('local_stack');
    const { directBrokers } = inject('servers');
    const { env } = environment;
    await withServer(env.ORDER_DATABASE_URL, async (client) => {
      await client.query('SELECT pg_create_logical_replication_slot($1, $2)', [env.SLOT_NAME, 'pgoutput']);
    });
    await withKafkaAdmin(directBrokers, (admin) => admin.createTopics({ topics: [{ topic: env.ORDERS_TOPIC }] }));
    expect(await listTopics(directBrokers)).toContain(env.ORDERS_TOPIC);
    await environment.cleanUp();
    // The controller has deleted it by now; the broker that is asked may not have heard of that yet.
    await waitFor('the topic to be gone', async () => !(await listTopics(directBrokers)).includes(env.ORDERS_TOPIC));
    await expect(withServer(env.ORDER_DATABASE_URL, async () => undefined)).rejects.toThrow(/does not exist/);
  });
});
