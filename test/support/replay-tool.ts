// The replay tool as a process, the way `npm run replay --` starts it: with nothing but the test's environment, told to
// stop by signals, stopped at exact moments by failpoints. Its words are collected; none of them goes to a terminal.

import { join } from 'node:path';
import { controlProcess, type ProcessExit, spawnGuarded } from '../../dev/process/child-process.ts';
import { childEnv } from './child-env.ts';
import { noteProcess } from './test-directory.ts';
import { waitFor } from './wait.ts';

export interface ReplayTool {
  /** Everything on standard output so far. */
  stdout(): string;
  stderr(): string;
  /** Waits until standard output holds `part`, or matches it; throws when the tool ends without. */
  waitForOutput(part: string | RegExp, deadlineMs?: number): Promise<void>;
  signal(signal: NodeJS.Signals): void;
  /** Kills it for good, in cleaning up. */
  kill(): Promise<ProcessExit>;
  readonly exited: Promise<ProcessExit>;
}

const repository = join(import.meta.dirname, '..', '..');
const failpoints = ['--import', './test/support/failpoints.ts'];

/** Starts it; `more` goes on top of `env`, and TILLSTREAM_FAILPOINTS there takes effect. */
export async function startReplayTool(
  env: Readonly<Record<string, string>>,
  args: readonly string[],
  more: Readonly<Record<string, string>> = {},
): Promise<ReplayTool> {
  const nodeArgs = 'TILLSTREAM_FAILPOINTS' in more ? failpoints : [];
  const child = await spawnGuarded(process.execPath, [...nodeArgs, join(repository, 'tools/replay/main.ts'), ...args], {
    cwd: repository,
    env: { ...childEnv(), ...env, ...more },
    stdio: ['ignore', 'pipe', 'pipe'],
    lastSignal: 'SIGKILL',
  });
  const control = controlProcess('replay', child);
  const forget = noteProcess('replay', control.pid);
  const output = { stdout: '', stderr: '' };
  child.stdout!.on('data', (data) => {
    output.stdout += data;
  });
  child.stderr!.on('data', (data) => {
    output.stderr += data;
  });
  // 'close' comes after the last output.
  const closed = new Promise<void>((resolve) => child.once('close', () => resolve()));
  const exited = control.exited.then(async (exit) => {
    await closed;
    forget();
    return exit;
  });
  return {
    stdout: () => output.stdout,
    stderr: () => output.stderr,
    async waitForOutput(part, deadlineMs = 30_000) {
      const isThere = () => (typeof part === 'string' ? output.stdout.includes(part) : part.test(output.stdout));
      await waitFor(
        `the replay tool to say ${part}`,
        () => {
          if (isThere()) return true;
          const exit = control.exit();
          if (exit !== undefined) throw new Error(`it ended (${exit.code}):\n${output.stdout}\n${output.stderr}`);
          return undefined;
        },
        { deadlineMs },
      );
    },
    signal: (signal) => control.signal(signal),
    kill: control.kill,
    exited,
  };
}

/** Runs it to its end. */
export async function runReplayTool(
  env: Readonly<Record<string, string>>,
  args: readonly string[],
  more: Readonly<Record<string, string>> = {},
): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const tool = await startReplayTool(env, args, more);
  const { code } = await tool.exited;
  return { code, stdout: tool.stdout(), stderr: tool.stderr() };
}

/** The id of the run that the tool said it carries out. */
export function findRunId(stdout: string): string {
  const match = /^Run ([0-9a-f-]{36})$/m.exec(stdout);
  if (match === null) throw new Error(`no run in:\n${stdout}`);
  return match[1]!;
}
