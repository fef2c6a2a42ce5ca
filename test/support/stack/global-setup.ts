// Starts one Postgres and one Kafka for a run of the real-server tests, and ends the run with a look around: a test that
// leaves a process, slot, database, topic, connection or folder behind fails the run. The developer's own KAFKA_BROKERS
// and *_DATABASE_URL are taken out of the environment, so that no test can ever touch those servers. Tests that kill
// servers create their own through dev/.

import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { createLocalKafka } from '../../../dev/servers/local-kafka.ts';
import { createLocalPostgres } from '../../../dev/servers/local-postgres.ts';
import { removePostgresData } from '../../../dev/servers/postgres-data.ts';
import { listTopics } from '../kafka/admin.ts';
import {
  createTestRoot,
  findLeftBehind,
  removeAbandonedTestRoots,
  testRootVariable,
} from '../process/test-directory.ts';
import { WaitDeadlineError, waitFor } from '../wait.ts';
import { type TestServers, withServer } from './environment.ts';

declare module 'vitest' {
  export interface ProvidedContext {
    servers: TestServers;
  }
}

const goodbyeDeadlineMs = 10_000;

/** Called by vitest once before the tests of a project; returns what it calls after them. */
export async function setup(project: TestProject): Promise<() => Promise<void>> {
  for (const name of ['KAFKA_BROKERS', 'ORDER_DATABASE_URL', 'CART_DATABASE_URL']) delete process.env[name];
  removeAbandonedTestRoots();
  const root = createTestRoot();
  process.env[testRootVariable] = root;
  // Services are started hundreds of times: half of a start is compiling (1.0 s of CPU without, 0.5 s with the cache).
  process.env.NODE_COMPILE_CACHE = join(root, 'compile-cache');
  const onNotice = (message: string) => console.info(message);
  const postgres = await createLocalPostgres({
    directory: join(root, 'postgres'),
    // kill -9 loses nothing without fsync, only a power cut does; the disk is shared by every test.
    // With commit times, the oracle compares those of events as well.
    settings: {
      fsync: 'off',
      max_connections: '200',
      max_prepared_transactions: '10',
      track_commit_timestamp: 'on',
    },
    onNotice,
  });
  const kafka = await createLocalKafka({
    directory: join(root, 'kafka'),
    settings: { 'transaction.abort.timed.out.transaction.cleanup.interval.ms': '1000' },
    onNotice,
  });
  const stop = async () => {
    await Promise.all([postgres.close(), kafka.kill()]);
    removePostgresData(join(root, 'postgres'));
    // Workers that end just now still write to the compile cache. rmSync would give up on that without a word.
    await rm(root, { recursive: true, force: true, maxRetries: 10 });
  };
  try {
    await Promise.all([postgres.start(), kafka.start()]);
  } catch (error) {
    await stop();
    throw error;
  }
  const servers: TestServers = {
    orderServerUrl: postgres.url('postgres'),
    cartServerUrl: postgres.url('postgres'),
    brokers: kafka.bootstrap,
    directBrokers: kafka.directBootstrap,
  };
  project.provide('servers', servers);
  return async () => {
    try {
      await requireNothingLeft(root, servers);
    } finally {
      await stop();
    }
  };
}

async function requireNothingLeft(root: string, servers: TestServers): Promise<void> {
  let left: string[] = [];
  try {
    // Connections and topics end a moment after the client that ended them has gone.
    await waitFor(
      'the tests to leave nothing behind',
      async () => {
        left = [
          ...findLeftBehind(root),
          ...(await findInPostgres(servers.orderServerUrl)),
          ...(await listTopics(servers.directBrokers)).map((topic) => `topic ${topic}`),
        ];
        return left.length === 0;
      },
      { deadlineMs: goodbyeDeadlineMs, everyMs: 200 },
    );
  } catch (error) {
    if (!(error instanceof WaitDeadlineError) || left.length === 0) throw error;
    throw new Error(`The tests left behind:\n  ${left.join('\n  ')}`);
  }
}

function findInPostgres(url: string): Promise<string[]> {
  return withServer(url, async (client) => {
    const { rows } = await client.query<{ left: string }>(`
      SELECT 'replication slot ' || slot_name AS left FROM pg_replication_slots
      UNION ALL SELECT 'database ' || datname FROM pg_database WHERE datname NOT IN ('postgres', 'template0', 'template1')
      UNION ALL SELECT 'prepared transaction ' || gid FROM pg_prepared_xacts
      UNION ALL SELECT 'connection ' || pid || ' to ' || coalesce(datname, '-') || ' by ' || coalesce(nullif(application_name, ''), '?')
        FROM pg_stat_activity WHERE backend_type IN ('client backend', 'walsender') AND pid <> pg_backend_pid()`);
    return rows.map((row) => row.left);
  });
}
