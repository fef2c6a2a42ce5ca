// Tells one process from a later one with the same number. A pid alone proves nothing: it is reused, in containers
// within seconds. A pid together with the moment the process started names one process for ever; both go into a JSON
// pid file, with those of the process that owns it, so that the next start knows a leftover from a stack in use.

import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { waitFor } from './wait-for.ts';

/** A process as written to a pid file; `startMark` is opaque and compares only with others of this machine. */
export type ProcessIdentity = { pid: number; startMark: string };

type PidFile = { what: string; process: ProcessIdentity; owner: ProcessIdentity };

/** Another live program started the server that this folder belongs to. */
class FolderInUseError extends Error {
  readonly code = 'folder_in_use';

  constructor(what: string, pidFile: string, process: ProcessIdentity, owner: ProcessIdentity) {
    super(
      `${what} of this folder already runs (process ${process.pid}), started by process ${owner.pid}, which is alive ` +
        `(noted in ${pidFile}). Stop process ${owner.pid} first, or use another folder.`,
    );
    this.name = 'FolderInUseError';
  }
}

/** Returns what tells the live process `pid` from any other that ever has the same number; undefined when it is gone. */
function readStartMark(pid: number): string | undefined {
  if (existsSync('/proc/self/stat')) {
    let stat: string;
    try {
      stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      if (code === 'ENOENT' || code === 'ESRCH') return undefined;
      throw error;
    }
    // The command's name stands in parentheses and may itself hold spaces and parentheses.
    const [state, ...fields] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return state === 'Z' || state === 'X' ? undefined : fields[18];
  }
  try {
    return execFileSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8' }).trim() || undefined;
  } catch (error) {
    if ((error as { status?: number }).status === 1) return undefined;
    throw error;
  }
}

/** Returns the command line of the live process `pid`, its words separated by spaces; undefined when it is gone. */
export function readCommandLine(pid: number): string | undefined {
  if (readStartMark(pid) === undefined) return undefined;
  if (existsSync('/proc/self/stat')) return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
  return execFileSync('ps', ['-o', 'command=', '-p', String(pid)], { encoding: 'utf8' }).trim();
}

/** Tells whether exactly this process is alive (a zombie is not). */
export function isAlive({ pid, startMark }: ProcessIdentity): boolean {
  return readStartMark(pid) === startMark;
}

/** Writes `pid` and the current process as its owner; a process that ended already leaves no file. */
export function writePidFile(pidFile: string, what: string, pid: number): void {
  const startMark = readStartMark(pid);
  if (startMark === undefined) return;
  const owner = { pid: process.pid, startMark: readStartMark(process.pid)! };
  const content: PidFile = { what, process: { pid, startMark }, owner };
  writeFileSync(`${pidFile}.new`, `${JSON.stringify(content)}\n`);
  renameSync(`${pidFile}.new`, pidFile);
}

/** Returns what a pid file holds, or undefined when there is none. */
export function readPidFile(pidFile: string): PidFile | undefined {
  return existsSync(pidFile) ? (JSON.parse(readFileSync(pidFile, 'utf8')) as PidFile) : undefined;
}

/**
 * Stops the process that an earlier, now dead owner left behind: `signal` first, SIGKILL after `deadlineMs`. Returns
 * its pid, or undefined when nothing was left. Throws {@link FolderInUseError} when the owner is alive.
 */
export async function stopLeftover(
  pidFile: string,
  signal: NodeJS.Signals,
  { deadlineMs = 15_000 }: { deadlineMs?: number } = {},
): Promise<number | undefined> {
  const noted = readPidFile(pidFile);
  if (noted === undefined) return undefined;
  const left = noted.process;
  if (!isAlive(left)) {
    rmSync(pidFile, { force: true });
    return undefined;
  }
  if (isAlive(noted.owner)) throw new FolderInUseError(noted.what, pidFile, left, noted.owner);
  sendSignal(left, signal);
  sendSignal(left, 'SIGCONT');
  const killAtMs = performance.now() + deadlineMs;
  let killed = false;
  await waitFor(
    `${noted.what} (process ${left.pid}), left behind by an earlier run, to end`,
    () => {
      if (!isAlive(left)) return true;
      if (!killed && performance.now() > killAtMs) killed = sendSignal(left, 'SIGKILL');
      return false;
    },
    { deadlineMs: deadlineMs + 5_000 },
  );
  rmSync(pidFile, { force: true });
  return left.pid;
}

/** Sends `signal` unless the process has ended; returns true. Throws when it belongs to someone else. */
function sendSignal({ pid, startMark }: ProcessIdentity, signal: NodeJS.Signals): true {
  if (!isAlive({ pid, startMark })) return true;
  try {
    process.kill(pid, signal);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'EPERM') {
      throw new Error(`Process ${pid} was left behind by an earlier run of another user. Stop it: kill ${pid}`);
    }
    if (code !== 'ESRCH') throw error;
  }
  return true;
}
