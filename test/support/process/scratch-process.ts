/**
 * A tiny program as a process of its own, for tests of what happens to whole processes: exit codes, signals, output.
 *
 * The program's text is run by this Node from the repository's root, so that it may import '#service/…'. Every process
 * is killed by `killScratchProcesses`, for afterEach.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

export interface ScratchProcess {
  readonly child: ChildProcess;
  /** Lines of standard output so far, parsed where they are JSON. */
  readonly lines: readonly (string | Record<string, unknown>)[];
  /** Everything on standard error so far. */
  readonly stderr: () => string;
  /** Resolves when a line of standard output holds `part`; rejects when the process ends without one. */
  waitForLine(part: string): Promise<void>;
  readonly exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
}

const processes = new Set<ChildProcess>();
const repository = join(import.meta.dirname, '..', '..', '..');

export function startScratchProcess(
  program: string,
  options: { nodeArgs?: readonly string[]; env?: Record<string, string> } = {},
): ScratchProcess {
  const { nodeArgs = [], env = {} } = options;
  const child = spawn(process.execPath, [...nodeArgs, '--input-type=module-typescript', '--eval', program], {
    cwd: repository,
    env: { PATH: process.env.PATH, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  processes.add(child);
  const lines: (string | Record<string, unknown>)[] = [];
  const raw: string[] = [];
  const waiting = new Set<() => void>();
  const wake = () => {
    for (const check of waiting) check();
  };
  createInterface({ input: child.stdout! }).on('line', (line) => {
    raw.push(line);
    lines.push(line.startsWith('{') ? JSON.parse(line) : line);
    wake();
  });
  let stderr = '';
  child.stderr!.on('data', (data) => {
    stderr += data;
  });
  let ended = false;
  // 'close' comes after the last output.
  const exited = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve) => {
    child.on('close', (code, signal) => {
      processes.delete(child);
      ended = true;
      resolve({ code, signal });
      wake();
    });
  });
  return {
    child,
    lines,
    stderr: () => stderr,
    exited,
    waitForLine: (part) =>
      new Promise((resolve, reject) => {
        const check = () => {
          const found = raw.some((line) => line.includes(part));
          if (!found && !ended) return;
          waiting.delete(check);
          if (found) resolve();
          else reject(new Error(`ended without a line with ${part}:\n${raw.join('\n')}\n${stderr}`));
        };
        waiting.add(check);
        check();
      }),
  };
}

export function killScratchProcesses(): void {
  for (const child of processes) child.kill('SIGKILL');
}
