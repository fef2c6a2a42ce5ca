// Test files run in a copy of the work tree: what git knows of it, and untracked files that it does not ignore, in a folder
// of the system's temporary one, with the same node_modules. The result is vitest's own, read from its JSON report, so
// that a test that failed is told apart from a file that could not even be loaded.

import { execFile } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { controlProcess, spawnGuarded } from '../../dev/process/child-process.ts';

const repository = join(import.meta.dirname, '..', '..');
const runDeadlineMs = 600_000;
/** Of each simulation: enough to find what one of its own mutants breaks. */
const simulationRuns = '400';

/** Copies the work tree as it is now; returns the folder, which the caller removes with {@link removeCopy}. */
export async function copyWorkTree(label: string): Promise<string> {
  const list = ['ls-files', '-z', '--cached', '--others', '--exclude-standard'];
  const { stdout } = await promisify(execFile)('git', list, { cwd: repository, maxBuffer: 64 * 1024 * 1024 });
  const folder = mkdtempSync(join(tmpdir(), `tillstream-control-${label}-`));
  // In a copy of a copy, node_modules is a link, which git does not take for the folder that it ignores.
  const paths = stdout.split('\0').filter((name) => name !== '' && name !== 'node_modules');
  try {
    for (const path of paths.filter((name) => existsSync(join(repository, name)))) {
      mkdirSync(dirname(join(folder, path)), { recursive: true });
      cpSync(join(repository, path), join(folder, path));
    }
    symlinkSync(join(repository, 'node_modules'), join(folder, 'node_modules'));
  } catch (error) {
    removeCopy(folder);
    throw error;
  }
  return folder;
}

export function removeCopy(folder: string): void {
  rmSync(folder, { recursive: true, force: true });
}

export interface TestRun {
  readonly passed: number;
  /** Full names of the tests that failed, with the first line of why. */
  readonly failed: readonly { readonly name: string; readonly file: string; readonly why: string }[];
  /** Files that could not be loaded, a run that ended otherwise, in words. */
  readonly broken: readonly string[];
  readonly seconds: number;
}

interface Report {
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    readonly message: string;
    readonly assertionResults: readonly { fullName: string; status: string; failureMessages: readonly string[] }[];
  }[];
}

/** Runs test files in `folder`. Rejects with the signal's reason when it is aborted. */
export async function runTests(options: {
  readonly folder: string;
  readonly files: readonly string[];
  /** Besides `files`: files or folders, of which some may be in no project. */
  readonly folders?: readonly string[];
  /** Instead of `files`: the tests of these projects that import `source`, directly or not. */
  readonly related?: { readonly source: string; readonly projects: readonly string[] };
  readonly testName?: string | undefined;
  /** Stop at the first failure. */
  readonly bail: boolean;
  readonly signal: AbortSignal;
}): Promise<TestRun> {
  const { folder, files, folders = [], related, testName, bail, signal } = options;
  const select =
    related === undefined
      ? ['run', ...files, ...folders]
      : ['related', related.source, '--run', ...related.projects.flatMap((name) => ['--project', name])];
  signal.throwIfAborted();
  const reportFile = join(folder, 'control-report.json');
  rmSync(reportFile, { force: true });
  const startMs = performance.now();
  const child = await spawnGuarded(
    process.execPath,
    [
      join('node_modules', 'vitest', 'vitest.mjs'),
      ...[...select, '--reporter=json', `--outputFile=${reportFile}`, ...(bail ? ['--bail=1'] : [])],
      ...(testName === undefined ? [] : ['-t', testName]),
    ],
    {
      cwd: folder,
      env: { SIMULATION_RUNS: simulationRuns, THOROUGH: 'yes', ...process.env, CI: 'true' },
      stdio: ['ignore', 'pipe', 'pipe'],
      lastSignal: 'SIGTERM',
    },
  );
  const control = controlProcess('vitest', child);
  let output = '';
  for (const stream of [child.stdout!, child.stderr!]) {
    stream.on('data', (chunk) => {
      output = (output + chunk).slice(-4_000);
    });
  }
  const stop = () => control.signal('SIGTERM');
  const timer = setTimeout(stop, runDeadlineMs);
  signal.addEventListener('abort', stop, { once: true });
  try {
    await control.exited;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', stop);
  }
  signal.throwIfAborted();
  const seconds = (performance.now() - startMs) / 1_000;
  if (!existsSync(reportFile)) return { passed: 0, failed: [], broken: [`vitest gave no report: ${output}`], seconds };
  return { ...summarize(JSON.parse(readFileSync(reportFile, 'utf8')) as Report, folder, files), seconds };
}

function summarize({ testResults }: Report, folder: string, files: readonly string[]): Omit<TestRun, 'seconds'> {
  const tests = testResults.flatMap(({ name, assertionResults }) =>
    assertionResults.map((result) => ({ ...result, file: name.replace(`${folder}/`, '') })),
  );
  const unloaded = testResults.filter(({ status, assertionResults }) => {
    return status === 'failed' && !assertionResults.some((result) => result.status === 'failed');
  });
  const ran = new Set(testResults.map(({ name }) => name.replace(`${folder}/`, '')));
  return {
    passed: tests.filter(({ status }) => status === 'passed').length,
    failed: tests
      .filter(({ status }) => status === 'failed')
      .map(({ fullName, file, failureMessages }) => ({
        name: fullName,
        file,
        why: failureMessages[0]?.split('\n')[0] ?? '',
      })),
    broken: [
      ...unloaded.map(({ name, message }) => `${name} could not be run: ${message.split('\n')[0]}`),
      ...files.filter((file) => !ran.has(file)).map((file) => `${file} was not run`),
    ],
  };
}
