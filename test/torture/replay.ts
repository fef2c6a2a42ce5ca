// Replays among the faults: the tool as a process of its own, from a position of the run's past, sometimes killed and
// resumed. Under an unchanged rule it must end with its proof and change nothing (I10).

import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { controlProcess, spawnGuarded } from '../../dev/process/child-process.ts';
import { waitFor } from '../../dev/process/wait-for.ts';
import { withTextClient } from '../support/oracle/facts.ts';
import { childEnv } from '../support/process/child-env.ts';
import { noteProcess } from '../support/process/test-directory.ts';
import type { FaultContext } from './faults.ts';
import type { Fault } from './plan.ts';

const repository = join(import.meta.dirname, '..', '..');
const tool = join(repository, 'tools', 'replay', 'main.ts');
const toolDeadlineMs = 120_000;
/** Orders a second: slow enough to be killed in the midst of it. */
const slowRate = '2000';
/** What the tool prints once its run is stored. */
const begun = /^Run [0-9a-f-]{36}/m;

/** Replays a part of the run's past, chosen by the plan. @throws when the tool does not end with exit code 0 */
export async function runReplay(context: FaultContext, fault: Fault): Promise<void> {
  const { positions, stack, note } = context;
  // Not the newest one, which the pipeline may not have passed yet.
  const from = positions[Math.floor(fault.variant * (positions.length - 1))];
  if (from === undefined) return note('no position to replay from yet');
  const mode = fault.target % 2 === 0 ? 'repair' : 'reapply';
  const args = ['--from-lsn', from, '--mode', mode, '--yes'];
  if (fault.kind === 'replay') return runReplayTool(context, args);
  const killed = await runReplayTool(context, [...args, '--rate', slowRate], fault.lastsMs).then(
    () => false,
    (error: unknown) => {
      if (!(error instanceof ToolKilled)) throw error;
      return true;
    },
  );
  if (!killed) return note(`the replay ended before it could be killed`);
  const sql =
    "SELECT run_id FROM replay_runs WHERE state IN ('publishing', 'published') ORDER BY created_at DESC LIMIT 1";
  const [run] = await withTextClient(stack.cartsUrl, (query) => query(sql));
  await runReplayTool(context, run === undefined ? args : ['resume', run.run_id!]);
}

class ToolKilled extends Error {}

/** Runs the tool to its end. @throws when that is not exit code 0, or {@link ToolKilled} */
export async function runReplayTool(
  { stack, signal, note }: FaultContext,
  args: readonly string[],
  killAfterMs?: number,
) {
  signal.throwIfAborted();
  const child = await spawnGuarded(process.execPath, [tool, ...args], {
    cwd: repository,
    env: { ...childEnv(), ...stack.toolEnv },
    stdio: ['ignore', 'pipe', 'pipe'],
    lastSignal: 'SIGKILL',
  });
  const control = controlProcess('replay', child);
  const forget = noteProcess('replay', control.pid);
  let output = '';
  for (const stream of [child.stdout!, child.stderr!])
    stream.on('data', (chunk) => {
      output += chunk;
    });
  const ended = new AbortController();
  const wait = (ms: number) =>
    delay(ms, 'late' as const, { signal: AbortSignal.any([ended.signal, signal]), ref: false });
  try {
    if (killAfterMs !== undefined) {
      const hasBegun = () => begun.test(output) || control.exit() !== undefined;
      await waitFor('the replay to begin', hasBegun, { deadlineMs: toolDeadlineMs });
      if ((await Promise.race([control.exited, wait(killAfterMs)])) === 'late') {
        await control.kill();
        throw new ToolKilled('The replay was killed.');
      }
    }
    const exit = await Promise.race([control.exited, wait(toolDeadlineMs)]);
    if (exit === 'late')
      throw new Error(`The replay (${args.join(' ')}) has not ended after ${toolDeadlineMs} ms:\n${output}`);
    if (exit.code !== 0) throw new Error(`The replay (${args.join(' ')}) ended with ${exit.code}:\n${output}`);
    note(`replay ${args.join(' ')}: ${output.trim().split('\n').at(-1) ?? ''}`);
  } finally {
    ended.abort();
    if (control.exit() === undefined) await control.kill();
    forget();
  }
}
