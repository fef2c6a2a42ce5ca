// Child processes that never outlive their parent unnoticed. Each runs in a session of its own, so that Ctrl-C reaches
// the parent alone and the parent decides the order of stopping. A small shell, its guard, waits on a pipe that only the
// parent holds: when the parent ends in whatever way, kill -9 included, the pipe closes and the guard stops the child.
// A pid file covers the rest (guard killed too): the next start finds and stops the leftover (process-identity.ts).

import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, fstatSync, openSync, readSync, rmSync } from 'node:fs';
import { withDeadline } from '#service/deadline.ts';
import { writePidFile } from './process-identity.ts';
import { HopelessError, waitFor } from './wait-for.ts';

/** How a process ended: an exit code, or the signal that ended it. */
export type ProcessExit = { code: number | null; signal: NodeJS.Signals | null };

/** A running server; `stop` and `kill` return once it has ended. */
export type ServerProcess = {
  readonly pid: number;
  readonly exited: Promise<ProcessExit>;
  exit(): ProcessExit | undefined;
  signal(signal: NodeJS.Signals): void;
  /** Sends `signal` (and SIGCONT, in case it is paused); throws {@link StopDeadlineError} when it still runs after `deadlineMs`. */
  stop(signal: NodeJS.Signals, deadlineMs: number): Promise<ProcessExit>;
  kill(): Promise<ProcessExit>;
};

/** A process did not end in time after it was told to. */
export class StopDeadlineError extends Error {
  readonly code = 'stop_deadline';

  constructor(what: string, pid: number, signal: string, deadlineMs: number) {
    super(`${what} (process ${pid}) still runs ${deadlineMs} ms after ${signal}.`);
    this.name = 'StopDeadlineError';
  }
}

const guardScript = `
read -r released && exit 0
kill -s "$2" "$1"; kill -s CONT "$1"
tries=0
while kill -0 "$1" && [ "$tries" -lt 100 ]; do sleep 0.1; tries=$((tries + 1)); done
kill -s KILL "$1"`;

/**
 * Spawns `command` in a session of its own, with a guard that sends it `lastSignal` (SIGKILL 10 s later) when this
 * process ends without having stopped it. Throws when the command can't be started.
 */
export async function spawnGuarded(
  command: string,
  args: readonly string[],
  options: SpawnOptions & { lastSignal: NodeJS.Signals },
): Promise<ChildProcess> {
  const { lastSignal, ...spawnOptions } = options;
  const child = spawn(command, args, { ...spawnOptions, detached: true });
  await once(child, 'spawn');
  const guard = spawn('sh', ['-c', guardScript, 'guard', String(child.pid), lastSignal.replace('SIG', '')], {
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
  });
  guard.on('error', (error) => console.warn(`No guard for ${command}: ${error.message}`));
  // A guard that is gone already (someone killed it) makes the release fail with EPIPE, which changes nothing.
  guard.stdin?.on('error', () => undefined);
  guard.unref();
  (guard.stdin as unknown as { unref(): void }).unref();
  child.once('exit', () => guard.stdin?.end('released\n'));
  return child;
}

/**
 * Starts a server whose output goes to the end of `logFile`, and notes it in `pidFile` until it has ended.
 * `what` names it in errors.
 */
export async function startServerProcess(options: {
  what: string;
  command: string;
  args: readonly string[];
  cwd: string;
  env: NodeJS.ProcessEnv;
  user?: { uid: number; gid: number } | undefined;
  logFile: string;
  pidFile: string;
  lastSignal: NodeJS.Signals;
}): Promise<ServerProcess & { waitForLog(text: string, deadlineMs: number): Promise<void> }> {
  const { what, command, args, cwd, env, logFile, pidFile, lastSignal } = options;
  const log = openSync(logFile, 'a');
  const logStartBytes = fstatSync(log).size;
  const child = await spawnGuarded(command, args, {
    cwd,
    env,
    stdio: ['ignore', log, log],
    lastSignal,
    ...(options.user ?? {}),
  }).finally(() => closeSync(log));
  writePidFile(pidFile, what, child.pid!);
  child.once('exit', () => rmSync(pidFile, { force: true }));
  const server = controlProcess(what, child);
  const readLog = () => readFrom(logFile, logStartBytes);
  return {
    ...server,
    async waitForLog(text, deadlineMs) {
      await waitFor(
        `"${text}" in ${logFile}`,
        () => {
          if (readLog().includes(text)) return true;
          const exit = server.exit();
          if (exit === undefined) return false;
          const lastLines = readLog().trim().split('\n').slice(-12).join('\n');
          throw new HopelessError(
            new Error(
              `${what} ended (${exit.signal ?? `code ${exit.code}`}) while starting; ${logFile}:\n${lastLines}`,
            ),
          );
        },
        { deadlineMs, everyMs: 20 },
      );
    },
  };
}

/** Gives a spawned child the operations of {@link ServerProcess}. */
export function controlProcess(what: string, child: ChildProcess): ServerProcess {
  const pid = child.pid!;
  let ended: ProcessExit | undefined;
  const exited = new Promise<ProcessExit>((resolve) => {
    child.once('exit', (code, signal) => {
      ended = { code, signal };
      resolve(ended);
    });
  });
  const stop = async (signal: NodeJS.Signals, deadlineMs: number): Promise<ProcessExit> => {
    child.kill(signal);
    if (signal !== 'SIGKILL') child.kill('SIGCONT');
    return withDeadline(exited, deadlineMs, () => new StopDeadlineError(what, pid, signal, deadlineMs));
  };
  return {
    pid,
    exited,
    exit: () => ended,
    signal(signal) {
      if (!child.kill(signal)) throw new Error(`${what} (process ${pid}) has ended and can't be sent ${signal}.`);
    },
    stop,
    kill: () => stop('SIGKILL', 10_000),
  };
}

function readFrom(file: string, startBytes: number): string {
  const descriptor = openSync(file, 'r');
  try {
    const content = Buffer.alloc(fstatSync(descriptor).size - startBytes);
    readSync(descriptor, content, 0, content.length, startBytes);
    return content.toString('utf8');
  } finally {
    closeSync(descriptor);
  }
}
