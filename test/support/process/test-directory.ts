// Where a test run keeps its files: one folder per run below the system's temporary folder, made by global-setup.ts,
// which fails the run when anything but its own remains in it. Every process that a test starts is noted there too, so
// that one left behind is found although it belongs to another worker process.

import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isAlive, readPidFile, writePidFile } from '../../../dev/process/process-identity.ts';
import { removePostgresData } from '../../../dev/servers/postgres-data.ts';
import { unmountBelow } from '../postgres/small-disk.ts';

/** Name of the environment variable by which worker processes know the run's folder. */
export const testRootVariable = 'TILLSTREAM_TEST_ROOT';

const rootPrefix = 'tillstream-test-';
const runFile = 'run.json';

/** Makes the folder of a run, which every user may enter: Postgres may run as another one. */
export function createTestRoot(): string {
  const root = mkdtempSync(join(tmpdir(), rootPrefix));
  chmodSync(root, 0o755);
  mkdirSync(join(root, 'processes'));
  mkdirSync(join(root, 'directories'));
  writePidFile(join(root, runFile), 'the test run', process.pid);
  return root;
}

/** Removes the folders of runs that were killed; their servers have been stopped by their guards. */
export function removeAbandonedTestRoots(): void {
  for (const name of readdirSync(tmpdir()).filter((entry) => entry.startsWith(rootPrefix))) {
    const root = join(tmpdir(), name);
    const run = readPidFile(join(root, runFile));
    if (run === undefined || isAlive(run.process)) continue;
    for (const directory of readdirSync(join(root, 'directories'))) {
      removeTestDirectory(join(root, 'directories', directory));
    }
    removeTestDirectory(root);
  }
}

/** Returns the run's folder; outside a test run (a benchmark) one is made that whoever started it removes. */
function testRoot(): string {
  process.env[testRootVariable] ??= createTestRoot();
  return process.env[testRootVariable];
}

/** Makes an empty folder for one test, which removes it with {@link removeTestDirectory}. */
export function createTestDirectory(label: string): string {
  const directory = mkdtempSync(join(testRoot(), 'directories', `${label}-`));
  chmodSync(directory, 0o755);
  return directory;
}

/** Removes a test's folder with everything in it, Postgres data that had to be put elsewhere included. */
export function removeTestDirectory(directory: string): void {
  unmountBelow(directory);
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    if (entry.isDirectory()) removePostgresData(join(directory, entry.name));
  }
  removePostgresData(directory);
  rmSync(directory, { recursive: true, force: true });
}

/** Notes a process that a test has started; returns what to call once it has ended. */
export function noteProcess(what: string, pid: number): () => void {
  const pidFile = join(testRoot(), 'processes', `${pid}.json`);
  writePidFile(pidFile, what, pid);
  return () => rmSync(pidFile, { force: true });
}

/**
 * Names what tests have left behind: folders, and processes that no test has stopped (the guard of such a process may
 * have stopped it by now, when the worker that started it ended).
 */
export function findLeftBehind(root: string): string[] {
  const processes = readdirSync(join(root, 'processes')).flatMap((name) => {
    const noted = readPidFile(join(root, 'processes', name));
    return noted === undefined ? [] : [`process ${noted.process.pid} (${noted.what})`];
  });
  return [...processes, ...readdirSync(join(root, 'directories')).map((name) => `directory ${name}`)];
}
