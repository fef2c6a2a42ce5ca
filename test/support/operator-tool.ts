// An operator's command (tools/) as a process with nothing but the given environment, as `npm run <name> -- …` starts it
// from a job: not on a terminal.

import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { spawnGuarded } from '../../dev/process/child-process.ts';
import { childEnv } from './process/child-env.ts';
import { noteProcess } from './process/test-directory.ts';

const repository = join(import.meta.dirname, '..', '..');

export type ToolName = 'audit' | 'adopt' | 'replay';

export type ToolResult = {
  /** Null when a signal ended it. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
};

/**
 * Runs the tool to its end, or kills it after `killAfterMs`. `failpoints` as test/support/failpoints.ts reads them;
 * `closeOutput`: nobody reads its stdout, as behind `| head`.
 */
export async function runTool(
  name: ToolName,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
  { failpoints, killAfterMs, closeOutput }: { failpoints?: string; killAfterMs?: number; closeOutput?: boolean } = {},
): Promise<ToolResult> {
  const preload = failpoints === undefined ? [] : ['--import', './test/support/failpoints.ts'];
  const child = await spawnGuarded(
    process.execPath,
    [...preload, join(repository, 'tools', name, 'main.ts'), ...args],
    {
      cwd: repository,
      env: {
        ...childEnv(),
        ...env,
        ...(failpoints === undefined ? {} : { TILLSTREAM_FAILPOINTS: failpoints }),
      },
      stdio: ['ignore', 'pipe', 'pipe'],
      lastSignal: 'SIGKILL',
    },
  );
  const forget = noteProcess(`npm run ${name}`, child.pid!);
  const kill = killAfterMs === undefined ? undefined : setTimeout(() => child.kill('SIGKILL'), killAfterMs);
  const code = new Promise<number | null>((resolve) => child.once('exit', resolve));
  if (closeOutput) child.stdout!.destroy();
  const [stdout, stderr] = await Promise.all([closeOutput ? '' : text(child.stdout!), text(child.stderr!)]);
  const ended = await code;
  clearTimeout(kill);
  forget();
  return { code: ended, stdout, stderr };
}
