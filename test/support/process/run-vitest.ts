// Test files as a run of vitest of their own, with other servers than the usual ones, and one line that tells how it went: for
// the suites that run the same files on several versions. A failure prints each failed test; a run without a test is none.

import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { spawnGuarded } from '../../../dev/process/child-process.ts';

const repository = join(import.meta.dirname, '..', '..', '..');
const outputShown = 4_000;

interface Report {
  readonly success: boolean;
  readonly numPassedTests: number;
  readonly numPendingTests: number;
  readonly testResults: readonly {
    readonly message: string;
    readonly assertionResults: readonly { status: string; fullName: string; failureMessages: readonly string[] }[];
  }[];
}

/** `what` begins the line. */
export async function runVitest(
  what: string,
  files: readonly string[],
  env: Readonly<Record<string, string>>,
): Promise<{ passed: boolean; line: string }> {
  const folder = mkdtempSync(join(tmpdir(), 'tillstream-versions-'));
  try {
    const reportFile = join(folder, 'report.json');
    const projects = ['real', 'fault', 'matrix'].flatMap((project) => ['--project', project]);
    const reporting = ['--maxWorkers', '2', '--reporter=json', `--outputFile=${reportFile}`];
    const vitest = join('node_modules', 'vitest', 'vitest.mjs');
    const ran = await runNode([vitest, 'run', ...projects, ...files, ...reporting], env);
    const report = existsSync(reportFile) ? (JSON.parse(readFileSync(reportFile, 'utf8')) as Report) : undefined;
    return describe(what, ran, report);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Runs Node in the repository; `output` is the end of what it wrote. */
export async function runNode(args: readonly string[], env: Readonly<Record<string, string>>) {
  const startMs = performance.now();
  const child = await spawnGuarded(process.execPath, [...args], {
    cwd: repository,
    env: { ...process.env, CI: 'true', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    lastSignal: 'SIGTERM',
  });
  let output = '';
  for (const stream of [child.stdout!, child.stderr!]) {
    stream.on('data', (chunk) => {
      output = (output + chunk).slice(-outputShown);
    });
  }
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, output, seconds: ((performance.now() - startMs) / 1_000).toFixed(0) };
}

function describe(what: string, { code, output, seconds }: Awaited<ReturnType<typeof runNode>>, report?: Report) {
  const passed = code === 0 && report?.success === true && report.numPassedTests > 0;
  const tests = report?.testResults.flatMap(({ assertionResults }) => assertionResults) ?? [];
  const failed = tests.filter(({ status }) => status === 'failed');
  const counts = `${report?.numPassedTests ?? 0} passed, ${failed.length} failed, ${report?.numPendingTests ?? 0} not for it`;
  const line = `${what}: ${passed ? 'ok' : 'FAILED'}, ${counts}, ${seconds} s`;
  if (passed) return { passed, line };
  const reasons = failed.map(({ fullName, failureMessages }) => `  ${fullName}\n    ${failureMessages[0] ?? ''}`);
  // The tests may have passed, and the check for leftovers after them not.
  return { passed, line: [line, ...(reasons.length > 0 ? reasons : [output])].join('\n') };
}

/** The versions that the arguments name, else all; ends the process with 2 for one that is not known. */
export function readVersions(what: string, known: readonly string[], args: readonly string[]): readonly string[] {
  const unknown = args.filter((version) => !known.includes(version));
  if (unknown.length > 0) {
    console.error(`Not a known version of ${what}: ${unknown.join(', ')} (known: ${known.join(', ')}).`);
    process.exit(2);
  }
  return args.length > 0 ? args : known;
}
