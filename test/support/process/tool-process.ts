// An operator's command (tools/) as a process with nothing but the given environment, as `npm run <name> -- …` starts it
// from a job: not on a terminal. Told to stop by signals, stopped at exact moments by failpoints; what it writes is kept.

import { join } from 'node:path';
import { controlProcess, type ProcessExit, spawnGuarded } from '../../../dev/process/child-process.ts';
import { waitFor } from '../wait.ts';
import { childEnv, withFailpoints } from './child-env.ts';
import { noteProcess } from './test-directory.ts';

const repository = join(import.meta.dirname, '..', '..', '..');

export type ToolName = 'audit' | 'adopt' | 'find' | 'parked' | 'replay' | 'status';

export type ToolResult = {
  /** Null when a signal ended it. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
};

export interface Tool {
  /** Everything on standard output so far. */
  stdout(): string;
  stderr(): string;
  /** Waits until standard output holds `part`, or matches it; throws when the tool ends without. */
  waitForOutput(part: string | RegExp, deadlineMs?: number): Promise<void>;
  signal(signal: NodeJS.Signals): void;
  /** Kills it for good, in cleaning up. */
  kill(): Promise<ProcessExit>;
  /** Resolves after its last output. */
  readonly exited: Promise<ProcessExit>;
}

/** Starts it. `failpoints` as failpoints.ts reads them; `closeOutput`: nobody reads its stdout, as behind `| head`. */
export async function startTool(
  name: ToolName,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
  { failpoints, closeOutput }: { failpoints?: string | undefined; closeOutput?: boolean } = {},
): Promise<Tool> {
  const stops = withFailpoints(failpoints);
  const main = join(repository, 'tools', name, 'main.ts');
  const child = await spawnGuarded(process.execPath, [...stops.nodeArgs, main, ...args], {
    cwd: repository,
    env: { ...childEnv(), ...stops.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    lastSignal: 'SIGKILL',
  });
  if (closeOutput) child.stdout!.destroy();
  const control = controlProcess(name, child);
  const forget = noteProcess(`npm run ${name}`, control.pid);
  const output = { stdout: '', stderr: '' };
  for (const stream of ['stdout', 'stderr'] as const) {
    child[stream]!.setEncoding('utf8').on('data', (text: string) => {
      output[stream] += text;
    });
  }
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
        `npm run ${name} to write ${part}`,
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

/** Runs the tool to its end, or kills it after `killAfterMs`. */
export async function runTool(
  name: ToolName,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
  { killAfterMs, ...rest }: { failpoints?: string | undefined; killAfterMs?: number; closeOutput?: boolean } = {},
): Promise<ToolResult> {
  const tool = await startTool(name, args, env, rest);
  const kill = killAfterMs === undefined ? undefined : setTimeout(() => void tool.kill(), killAfterMs);
  const { code } = await tool.exited;
  clearTimeout(kill);
  return { code, stdout: tool.stdout(), stderr: tool.stderr() };
}

/** The id of the run that the replay tool wrote that it carries out. */
export function findRunId(stdout: string): string {
  const match = /^Run ([0-9a-f-]{36})$/m.exec(stdout);
  if (match === null) throw new Error(`no run in:\n${stdout}`);
  return match[1]!;
}
