// An orders server that can be replaced by another one at the same address, as after a failover or a restore: a cold copy
// of its files, the copy rolled forward on the first one's WAL to an exact position, or a cluster of its own. The stage's
// connection strings stay the same throughout. Kafka is the run's shared one.

import { chownSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { inject } from 'vitest';
import { createLocalPostgres, type LocalPostgres } from '../../../dev/servers/local-postgres.ts';
import { copyPostgresData } from '../../../dev/servers/postgres-data.ts';
import { createTestDirectory, removeTestDirectory } from '../process/test-directory.ts';
import { waitFor } from '../wait.ts';
import { withServer } from './environment.ts';
import { createPipelineStage, type PipelineStage } from './pipeline-stage.ts';

/** Where recovery ends: at the record that starts at `lsn`, which is replayed or not. Without it: at the end of the WAL. */
type RecoveryTarget = { readonly lsn: string; readonly inclusive: boolean };

export type ReplaceableSource = {
  readonly stage: PipelineStage;
  /** The server that answers at present. */
  readonly server: () => LocalPostgres;
  readonly sql: <R extends object>(text: string) => Promise<R[]>;
  /** Copies the files of the present server, which is shut down fast for it and started again. */
  backUp(name: string): Promise<void>;
  /** Ends the present server as `kill -9` would, and starts the copy `name` as it is: same timeline. */
  replaceWithCopy(name: string): Promise<void>;
  /** The same, but rolls the copy forward on the WAL of the present server and promotes it: a new timeline. */
  promoteCopy(name: string, target?: RecoveryTarget): Promise<void>;
  /** Ends the present server and starts a new cluster, empty but for the database of the stage. */
  replaceWithNewCluster(name: string): Promise<void>;
  /** Starts the copy `name` beside the present server, on a port of its own; ended by `cleanUp`. */
  startBeside(name: string): Promise<LocalPostgres>;
  cleanUp(): Promise<void>;
};

const defaultSettings = { fsync: 'off', track_commit_timestamp: 'on', max_prepared_transactions: '10' };

/** `sharedCarts`: the carts are on the run's shared server, which nothing replaces. */
export async function createReplaceableSource(
  label: string,
  more: { settings?: Readonly<Record<string, string>>; sharedCarts?: boolean } = {},
): Promise<ReplaceableSource> {
  const directory = createTestDirectory(label);
  const settings = { ...defaultSettings, ...more.settings };
  const folder = (name: string) => join(directory, name);
  const beside: LocalPostgres[] = [];
  let server = await createLocalPostgres({ directory: folder('first'), settings });
  const { port } = server;
  const at = (name: string) => createLocalPostgres({ directory: folder(name), port, settings });
  await server.start();
  const { brokers, directBrokers, cartServerUrl } = inject('servers');
  const url = server.url('postgres');
  const stage = await createPipelineStage(label, {
    servers: { orderServerUrl: url, cartServerUrl: more.sharedCarts ? cartServerUrl : url, brokers, directBrokers },
  });

  return {
    stage,
    server: () => server,
    sql: <R extends object>(text: string) =>
      withServer(stage.environment.env.ORDER_DATABASE_URL, async (client) => (await client.query(text)).rows as R[]),
    async backUp(name) {
      await server.stop('fast');
      await copyPostgresData(server.dataDirectory, folder(name));
      await server.start();
    },
    async replaceWithCopy(name) {
      await server.kill();
      server = await at(name);
      await server.start();
    },
    async promoteCopy(name, target) {
      await server.kill();
      const wal = join(server.dataDirectory, 'pg_wal');
      server = await at(name);
      const signal = join(server.dataDirectory, 'recovery.signal');
      writeFileSync(signal, '');
      const { uid, gid } = statSync(server.dataDirectory);
      chownSync(signal, uid, gid);
      const recovery = {
        // Without a target nothing but the copy's own WAL is wanted.
        restore_command: target === undefined ? 'false' : `cp ${wal}/%f %p`,
        recovery_target_action: 'promote',
        ...(target === undefined
          ? {}
          : { recovery_target_lsn: target.lsn, recovery_target_inclusive: target.inclusive ? 'on' : 'off' }),
      };
      await server.start({ settings: recovery });
      await waitPromoted(url);
      // The recovery settings were of this start only.
      await server.restart('fast');
    },
    async replaceWithNewCluster(name) {
      await server.kill();
      server = await at(name);
      await server.start();
      await server.createDatabase(new URL(stage.environment.env.ORDER_DATABASE_URL).pathname.slice(1));
    },
    async startBeside(name) {
      const other = await createLocalPostgres({ directory: folder(name), settings });
      beside.push(other);
      await other.start();
      return other;
    },
    async cleanUp() {
      try {
        await stage.cleanUp();
      } finally {
        await Promise.all([server, ...beside].map((one) => one.close()));
        removeTestDirectory(directory);
      }
    },
  };
}

/** Waits until the server at `url` has left recovery. */
export async function waitPromoted(url: string): Promise<void> {
  await waitFor(
    'the server to be promoted',
    () =>
      withServer(url, async (client) => {
        const { rows } = await client.query<{ standby: boolean }>('SELECT pg_is_in_recovery() AS standby');
        return !rows[0]!.standby;
      }),
    { deadlineMs: 60_000 },
  );
}
