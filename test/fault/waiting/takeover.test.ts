// What only a person can change (faults K): one of two readers or sinks waits for it by name, holding neither slot nor
// partitions, the other works within 15 s, and the first goes on by itself once the cause is gone. With brokers whose limits
// refuse the defaults, both wait by the name of the setting, and nothing is lost meanwhile.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest';
import { createLocalKafka, type LocalKafka } from '../../../dev/servers/local-kafka.ts';
import { mountSmallDisk, type SmallDisk } from '../../support/postgres/small-disk.ts';
import type { Service } from '../../support/process/service-process.ts';
import { createTestDirectory, removeTestDirectory } from '../../support/process/test-directory.ts';
import { withServer } from '../../support/stack/environment.ts';
import { createPipelineStage, type PipelineStage } from '../../support/stack/pipeline-stage.ts';
import { waitFor } from '../../support/wait.ts';

/** How long the other one may take. */
const TAKEOVER_MS = 15_000;
/** The longest back-off of a service that waits, and a start. */
const BACK_MS = 45_000;

async function readPipeline(service: Service): Promise<{ status: number; body: Record<string, unknown> }> {
  const response = await fetch(`${service.url}/health/pipeline`);
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
}

const waitUntilWaiting = (service: Service, name: string) =>
  waitFor(
    `${service.name} to wait for ${name}`,
    async () => {
      const { status, body } = await readPipeline(service);
      return status === 503 && body.state === 'waiting' && body.name === name;
    },
    { deadlineMs: 30_000 },
  );

const waitUntilWorking = (service: Service, deadlineMs: number) =>
  waitFor(`${service.name} to work`, async () => (await readPipeline(service)).status === 200, { deadlineMs });

describe('one of two', () => {
  let directory: string;
  let stage: PipelineStage;
  beforeEach(async () => {
    directory = createTestDirectory('waiting');
    stage = await createPipelineStage('waiting', { carts: true });
  });
  afterEach(async () => {
    await stage.cleanUp();
    removeTestDirectory(directory);
  });

  it('readers whose disk for huge transactions is full gives the slot to the other', async () => {
    const disk: SmallDisk = mountSmallDisk(`${directory}/disk`, 8);
    disk.fill();
    const full = await stage.startStreaming({ more: { SPILL_DIRECTORY: disk.path, SPILL_BYTES: '65536' } });
    await stage.load.insertTogether({ first: 0, count: 3_000 });
    await waitUntilWaiting(full, 'DISK_FULL');
    const other = await stage.startReader();
    await other.waitForLog('reader.streaming', { deadlineMs: TAKEOVER_MS });
    const sink = await stage.startSink();
    await stage.requireClean();
    disk.free();
    await waitUntilWorking(full, BACK_MS);
    expect((await full.ready()).body.state).toBe('standby');
    expect((await readPipeline(sink)).status).toBe(200);
  });

  it('sinks whose password is wrong leaves the partitions to the other, serves no cart, and joins once it is right', async () => {
    const { env, servers, id } = stage.environment;
    const role = `waiting_${id}`;
    const asAdmin = (text: string) => withServer(env.CART_DATABASE_URL, (client) => client.query(text));
    await stage.startStreaming();
    const good = await stage.startSink();
    await asAdmin(`CREATE ROLE ${role} LOGIN SUPERUSER PASSWORD 'right'`);
    try {
      const url = new URL(env.CART_DATABASE_URL);
      url.username = role;
      url.password = 'right';
      const member = await stage.startSink({ more: { CART_DATABASE_URL: url.href } });
      await waitFor(
        'both to consume',
        async () => (await member.metrics()).get('tillstream_sink_assigned_partitions') === 6,
      );
      // As when a password is rotated: open sessions end, new ones are refused.
      await asAdmin(`ALTER ROLE ${role} NOLOGIN`);
      await withServer(servers.cartServerUrl, (client) =>
        client.query('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1', [role]),
      );
      await stage.load.backlog({ first: 0, count: 60 });
      await waitUntilWaiting(member, 'DATABASE_AUTHENTICATION');
      await waitFor(
        'the other to have all partitions',
        async () => (await good.metrics()).get('tillstream_sink_assigned_partitions') === 12, // of both topics
        { deadlineMs: TAKEOVER_MS },
      );
      await stage.requireClean();
      await asAdmin(`ALTER ROLE ${role} LOGIN`);
      await waitUntilWorking(member, BACK_MS);
      await stage.load.backlog({ first: 60, count: 60 });
      await stage.requireClean();
      await member.stop();
    } finally {
      await asAdmin(`DROP ROLE ${role}`);
    }
  });
});

describe('of a broker whose limits refuse the defaults', () => {
  let directory: string;
  let kafka: LocalKafka;
  let stage: PipelineStage;
  beforeAll(async () => {
    directory = createTestDirectory('strict-kafka');
    const settings = { 'transaction.max.timeout.ms': '4000', 'group.min.session.timeout.ms': '15000' };
    kafka = await createLocalKafka({ directory, settings });
    await kafka.start();
    const { orderServerUrl, cartServerUrl } = inject('servers');
    const { bootstrap: brokers, directBootstrap: directBrokers } = kafka;
    const servers = { orderServerUrl, cartServerUrl, brokers, directBrokers };
    stage = await createPipelineStage('strict_kafka', { carts: true, servers });
  });
  afterAll(async () => {
    await stage?.cleanUp();
    await kafka?.kill();
    removeTestDirectory(directory);
  });

  it('reader and sink wait by the name of the setting, and go on with values that it allows', async () => {
    const reader = await stage.startReader();
    await waitUntilWaiting(reader, 'TRANSACTION_TIMEOUT');
    expect((await readPipeline(reader)).body.message).toMatch(/TRANSACTION_TIMEOUT_MS.*transaction\.max\.timeout\.ms/);
    await reader.stop();
    await stage.load.backlog({ first: 0, count: 30 });
    await stage.startStreaming({ more: { TRANSACTION_TIMEOUT_MS: '4000' } });
    const sink = await stage.startSink();
    await waitUntilWaiting(sink, 'SESSION_TIMEOUT');
    expect((await readPipeline(sink)).body.message).toMatch(/SESSION_TIMEOUT_MS.*group\.min\.session\.timeout\.ms/);
    expect((await sink.ready()).status).toBe(200); // carts are served
    await sink.stop();
    await stage.startSink({ more: { SESSION_TIMEOUT_MS: '15000' } });
    await stage.requireClean();
  });
});
