// One real Postgres as a child process, with its data in a folder of ours. Guarantees: what was started ends with us
// (child-process.ts), the data survives stop, kill -9 and our own death, and a folder in use, left behind or made by
// another major version is met with a repair or an error that says what to do. It listens on 127.0.0.1 only, without
// passwords. Creating databases aside, what is inside the server is left to others.

import { readdirSync, readFileSync, readlinkSync, realpathSync } from 'node:fs';
import { join, resolve } from 'node:path';
import pg from 'pg';
import { serverOf } from '#service/postgres/database-server.ts';
import {
  type ProcessExit,
  type ServerProcess,
  StopDeadlineError,
  startServerProcess,
} from '../process/child-process.ts';
import { freePort, requireFreePort } from '../process/ports.ts';
import { stopLeftover } from '../process/process-identity.ts';
import { preparePostgresData } from './postgres-data.ts';
import { wantedPostgresMajor } from './server-versions.ts';

/** fast rolls back and disconnects (SIGINT), smart waits for clients (SIGTERM), immediate leaves recovery to the next start (SIGQUIT). */
type PostgresStopMode = 'fast' | 'immediate' | 'smart';

export type LocalPostgres = {
  readonly port: number;
  readonly dataDirectory: string;
  readonly logFile: string;
  /** Connection string for `database`, by default as the superuser `postgres`. */
  url(database: string, user?: string): string;
  /** The postmaster's process id. Throws when it does not run. */
  pid(): number;
  /** Starts it and waits until it accepts connections; `settings` add to those given at creation, for this start only. */
  start(options?: { settings?: Record<string, string>; deadlineMs?: number }): Promise<void>;
  /** Throws {@link StopDeadlineError}, and leaves it running, when it has not ended after `deadlineMs` (30,000). */
  stop(mode: PostgresStopMode, options?: { deadlineMs?: number }): Promise<ProcessExit>;
  /** kill -9 of the postmaster; its backends notice and end on their own, or the next start ends them. */
  kill(): Promise<ProcessExit>;
  restart(mode?: PostgresStopMode, options?: { settings?: Record<string, string>; deadlineMs?: number }): Promise<void>;
  createDatabase(name: string): Promise<void>;
  /** Drops it with its connections. Throws while the database still has a logical slot. */
  dropDatabase(name: string): Promise<void>;
  /** Stops it if it runs: fast, and by force after `deadlineMs` (10,000). The data stays. */
  close(options?: { deadlineMs?: number }): Promise<void>;
};

/** After the postmaster's death a busy backend ends within moments, or never. */
const orphanGraceMs = 5_000;

const defaultSettings = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  wal_level: 'logical',
  max_wal_senders: '20',
  max_replication_slots: '20',
  log_line_prefix: '%m [%p] %q%d %a ',
};

/**
 * Prepares a server with its data, log and pid file in `directory` (created on the first start), on `port` or a free one.
 * `major`, else TILLSTREAM_TEST_POSTGRES, asks for another version than the installed one. Throws when the programs are missing or the folder can't be used.
 */
export async function createLocalPostgres(options: {
  directory: string;
  port?: number;
  settings?: Record<string, string>;
  major?: number | undefined;
  onNotice?: (message: string) => void;
}): Promise<LocalPostgres> {
  const directory = resolve(options.directory);
  const port = options.port ?? (await freePort());
  const notice = options.onNotice ?? (() => undefined);
  const [logFile, pidFile] = [join(directory, 'postgres.log'), join(directory, 'postgres.pid.json')];
  const settings: Record<string, string> = { ...defaultSettings, ...options.settings };
  const data = await preparePostgresData({ directory, major: options.major ?? wantedPostgresMajor(), notice });
  let server: Awaited<ReturnType<typeof startServerProcess>> | undefined;

  const running = (): ServerProcess => {
    if (server === undefined || server.exit() !== undefined) throw new Error(`Postgres on port ${port} does not run.`);
    return server;
  };
  const url = (database: string, user = 'postgres') =>
    `postgres://${encodeURIComponent(user)}@127.0.0.1:${port}/${encodeURIComponent(database)}`;

  const query = async (statement: (client: pg.Client) => string): Promise<void> => {
    const client = new pg.Client(serverOf(url('postgres')));
    await client.connect();
    try {
      await client.query(statement(client));
    } finally {
      await client.end();
    }
  };

  const start: LocalPostgres['start'] = async ({ settings: more = {}, deadlineMs = 60_000 } = {}) => {
    if (server !== undefined && server.exit() === undefined) throw new Error(`Postgres on port ${port} runs already.`);
    const left = await stopLeftover(pidFile, 'SIGINT');
    if (left !== undefined) notice(`Stopped Postgres (process ${left}) that an earlier run had left behind.`);
    await data.initialise({ sync: settings.fsync !== 'off' });
    await requireFreePort(port, 'Postgres');
    const flags = Object.entries({ ...settings, ...more }).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
    const endMs = performance.now() + deadlineMs;
    const orphansEndMs = performance.now() + orphanGraceMs;
    for (;;) {
      server = await startServerProcess({
        what: 'Postgres',
        command: data.binaries.postgres,
        args: ['-D', data.dataDirectory, '-p', String(port), ...flags],
        cwd: data.dataDirectory,
        env: data.env,
        user: data.user,
        logFile,
        pidFile,
        lastSignal: 'SIGINT',
      });
      try {
        return await server.waitForLog('ready to accept', endMs - performance.now());
      } catch (error) {
        // After kill -9 of the postmaster, a busy backend holds the shared memory until it notices.
        const held = error instanceof Error && error.message.includes('pre-existing shared memory block');
        if (held && performance.now() > orphansEndMs) endOrphanedBackends(data.dataDirectory);
        if (held && performance.now() < endMs) continue;
        if (server.exit() === undefined) await server.kill();
        throw error;
      }
    }
  };

  const stop: LocalPostgres['stop'] = (mode, { deadlineMs = 30_000 } = {}) =>
    running().stop(mode === 'fast' ? 'SIGINT' : mode === 'immediate' ? 'SIGQUIT' : 'SIGTERM', deadlineMs);

  return {
    port,
    dataDirectory: data.dataDirectory,
    logFile,
    url,
    pid: () => running().pid,
    start,
    stop,
    kill: () => running().kill(),
    async restart(mode = 'fast', restartOptions = {}) {
      await stop(mode, restartOptions);
      await start(restartOptions);
    },
    createDatabase: (name) => query((client) => `CREATE DATABASE ${client.escapeIdentifier(name)}`),
    dropDatabase: (name) => query((client) => `DROP DATABASE IF EXISTS ${client.escapeIdentifier(name)} WITH (FORCE)`),
    async close({ deadlineMs = 10_000 } = {}) {
      if (server === undefined || server.exit() !== undefined) return;
      try {
        await stop('fast', { deadlineMs });
      } catch (error) {
        if (!(error instanceof StopDeadlineError)) throw error;
        notice(`${error.message} Stopping it by force.`);
        await stop('immediate', { deadlineMs: 5_000 });
      }
    },
  };
}

/**
 * Kills the backends that outlive their postmaster, where /proc tells whose they are. Nearly all notice its death and end
 * at once; one stayed for more than a minute, in a statement whose client was gone, and no server starts beside it.
 */
function endOrphanedBackends(dataDirectory: string): void {
  if (process.platform !== 'linux') return;
  const home = realpathSync(dataDirectory);
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    try {
      const isOurs = readlinkSync(`/proc/${entry}/cwd`) === home;
      if (isOurs && readFileSync(`/proc/${entry}/comm`, 'utf8') === 'postgres\n')
        process.kill(Number(entry), 'SIGKILL');
    } catch {
      // Ended meanwhile, or another user's.
    }
  }
}
