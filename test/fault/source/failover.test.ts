// A real failover: a streaming standby that synchronises the slot is promoted after kill -9 of its primary, behind one
// address, with orders coming. The primary holds the reader back until the standby has what it reads
// (synchronized_standby_slots), so nothing published can be missing there, and the reader goes on by itself (I8, I11).
import { chownSync, statSync, writeFileSync } from 'node:fs';
import { afterEach, expect, inject, it } from 'vitest';
import { createLocalPostgres, type LocalPostgres } from '../../../dev/servers/local-postgres.ts';
import { copyPostgresData } from '../../../dev/servers/postgres-data.ts';
import { createTcpProxy, type TcpProxy } from '../../support/network/tcp-proxy.ts';
import { createTestDirectory, removeTestDirectory } from '../../support/process/test-directory.ts';
import { withServer } from '../../support/stack/environment.ts';
import { createPipelineStage, type PipelineStage } from '../../support/stack/pipeline-stage.ts';
import { waitPromoted } from '../../support/stack/replaceable-source.ts';
import { waitFor } from '../../support/wait.ts';

const atEnd: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of atEnd.splice(0).reverse()) await end();
});

const settings = { fsync: 'off', track_commit_timestamp: 'on' };
const query = (server: LocalPostgres, text: string) =>
  withServer(server.url('postgres'), async (client) => (await client.query<Record<string, unknown>>(text)).rows);

async function createServer(directory: string, more: Record<string, string> = {}): Promise<LocalPostgres> {
  const server = await createLocalPostgres({ directory, settings: { ...settings, ...more } });
  atEnd.push(() => server.close());
  return server;
}

it('goes on by itself on a standby with a synchronised slot, promoted after kill -9 of its primary', async () => {
  const directory = createTestDirectory('failover');
  atEnd.push(() => removeTestDirectory(directory));
  const primary = await createServer(`${directory}/primary`);
  await primary.start();
  const standby = await createServer(`${directory}/standby`, {
    primary_conninfo: `host=127.0.0.1 port=${primary.port} user=postgres dbname=postgres`,
    primary_slot_name: 'standby',
    hot_standby_feedback: 'on',
    sync_replication_slots: 'on',
  });
  let proxy: TcpProxy = await createTcpProxy({ targetPort: primary.port });
  atEnd.push(() => proxy.close());
  const address = new URL(primary.url('postgres'));
  address.port = String(proxy.port);
  const { brokers, directBrokers } = inject('servers');
  const stage: PipelineStage = await createPipelineStage('failover', {
    servers: {
      orderServerUrl: address.href,
      cartServerUrl: address.href,
      brokers,
      directBrokers,
    },
  });
  atEnd.push(() => stage.cleanUp());

  await query(primary, "SELECT pg_create_physical_replication_slot('standby', true)");
  await primary.stop('fast');
  await copyPostgresData(primary.dataDirectory, `${directory}/standby`);
  await primary.start();
  const signal = `${standby.dataDirectory}/standby.signal`;
  writeFileSync(signal, '');
  const { uid, gid } = statSync(standby.dataDirectory);
  chownSync(signal, uid, gid);
  await standby.start();
  await query(primary, "ALTER SYSTEM SET synchronized_standby_slots = 'standby'");
  await query(primary, 'SELECT pg_reload_conf()');

  const reader = await stage.startStreaming();
  let number = 0;
  const { SLOT_NAME } = stage.environment.env;
  await waitFor(
    'the standby to have the slot',
    async () => {
      await stage.load.place(number++);
      await query(primary, 'SELECT pg_log_standby_snapshot()');
      const synced = `SELECT 1 FROM pg_replication_slots WHERE slot_name = '${SLOT_NAME}' AND synced AND NOT temporary`;
      return (await query(standby, synced)).length > 0;
    },
    { deadlineMs: 60_000, everyMs: 200 },
  );
  await stage.load.pace({ first: 1_000, count: 50, ordersPerSecond: 50 });
  // Orders are on their way when the primary dies: those that the standby lacks never reached the reader either.
  const fallen = stage.load.pace({ first: 2_000, count: 2_000, ordersPerSecond: 200 });
  const failure = expect(fallen).rejects.toThrow();
  const { throughLsn } = (await reader.waitForLog('reader.published', { from: reader.logs.length })) as unknown as {
    throughLsn: string;
  };
  expect(throughLsn).toMatch(/^[0-9A-F]+\/[0-9A-F]+$/);
  await primary.kill();
  await failure;

  const { port } = proxy;
  proxy.close();
  proxy = await createTcpProxy({ targetPort: standby.port, listenPort: port });
  await query(standby, 'SELECT pg_promote()');
  await waitPromoted(standby.url('postgres'));
  const sinceMs = performance.now();
  await stage.load.pace({ first: 10_000, count: 50, ordersPerSecond: 50 });
  await stage.requireClean(20_000);
  console.info(`failover: drained ${Math.round(performance.now() - sinceMs)} ms after the promotion (load of 1 s)`);
  const starts = reader.logs.filter(({ event }) => event === 'reader.streaming');
  expect([starts[0]!.timeline, starts.at(-1)!.timeline]).toEqual([1, 2]);
});
