// The folder of `npm start` (.tillstream): one run at a time, nothing of an earlier run still alive in it. Guarantees:
// of two starts at once, one goes on and the other is told which process has the folder; what a killed run has left is
// stopped in the right order, services before Kafka before Postgres, before its ports are checked.

import { globSync, linkSync, mkdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { isAlive, readPidFile, stopLeftover, writePidFile } from '../process/process-identity.ts';

const largestLogBytes = 10 * 1024 * 1024;

/** Another `npm start` has this folder. */
class StackRunsError extends Error {
  readonly code = 'stack_runs';

  constructor(home: string, pid: number) {
    super(
      `npm start already runs on ${home} (process ${pid}). Use that one, stop it (Ctrl-C there, or kill ${pid}), or give ` +
        `this one a folder and ports of its own (TILLSTREAM_HOME, ORDER_API_PORT, … as listed in docs/configuration.md).`,
    );
    this.name = 'StackRunsError';
  }
}

/** Where a run keeps what. */
export function stackPaths(home: string) {
  return {
    lockFile: join(home, 'start.pid.json'),
    logs: join(home, 'logs'),
    services: join(home, 'services'),
    orderPostgres: join(home, 'orders-postgres'),
    cartPostgres: join(home, 'carts-postgres'),
    kafka: join(home, 'kafka'),
  };
}

/**
 * Makes the folder ours and stops what a killed run has left in it.
 * @returns what gives the folder up again
 * @throws StackRunsError when another run has it
 */
export async function claimStackFolder(home: string, say: (message: string) => void): Promise<() => void> {
  const { lockFile, logs, services } = stackPaths(home);
  for (const folder of [logs, services]) mkdirSync(folder, { recursive: true });
  takeLock(home, lockFile);
  const release = () => rmSync(lockFile, { force: true });
  try {
    await stopLeftovers(home, say);
    for (const log of globSync(['logs/*.log', '*-postgres/postgres.log', 'kafka/*/kafka.log'], { cwd: home })) {
      if (statSync(join(home, log)).size > largestLogBytes) renameSync(join(home, log), join(home, `${log}.old`));
    }
  } catch (error) {
    release();
    throw error;
  }
  return release;
}

/** A lock of a run that is dead is taken over. */
function takeLock(home: string, lockFile: string): void {
  const mine = `${lockFile}.${process.pid}`;
  writePidFile(mine, 'npm start', process.pid);
  try {
    linkSync(mine, lockFile);
    rmSync(mine);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    const holder = readPidFile(lockFile);
    if (holder !== undefined && isAlive(holder.process)) {
      rmSync(mine);
      throw new StackRunsError(home, holder.process.pid);
    }
    renameSync(mine, lockFile);
  }
}

async function stopLeftovers(home: string, say: (message: string) => void): Promise<void> {
  const inOrder = [
    { files: 'services/*.pid.json', signal: 'SIGTERM' },
    { files: 'kafka/*/kafka.pid.json', signal: 'SIGTERM' },
    { files: '*-postgres/postgres.pid.json', signal: 'SIGINT' },
  ] as const;
  for (const { files, signal } of inOrder) {
    for (const file of globSync(files, { cwd: home })) {
      const what = readPidFile(join(home, file))?.what;
      const pid = await stopLeftover(join(home, file), signal, { deadlineMs: 30_000 });
      if (pid !== undefined) say(`Stopped ${what} (process ${pid}), which an earlier run had left behind.`);
    }
  }
}
