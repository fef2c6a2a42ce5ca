// The services of the last commit whose sinks and readers this version must take over from, built once from git with the
// packages that its lock file names, into the user's cache: the tests need the history of the repository.
import { execFile, execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { makeWhole, userCacheDirectory } from '../../../dev/servers/cache-directory.ts';
import type { ServiceName, ServiceOptions } from './service-process.ts';

/** The last commit whose reader writes checkpoints of version 1. */
export const OLD = '625f9a0';
const repository = join(import.meta.dirname, '..', '..', '..');
const MOST_BYTES = 256 * 1024 * 1024;

/** Options for `startService` by which it runs the old service. */
export type OldServices = (name: ServiceName, more?: ServiceOptions) => ServiceOptions;

export async function buildOldServices(): Promise<{ folder: string; old: OldServices }> {
  const folder = join(userCacheDirectory(), `services-${OLD}`);
  if (!existsSync(folder)) {
    await makeWhole(folder, async (unfinished) => {
      const archive = execFileSync('git', ['archive', '--format=tar', '--prefix=services/', OLD], {
        cwd: repository,
        maxBuffer: MOST_BYTES,
      });
      execFileSync('tar', ['-x', '-C', unfinished], { input: archive });
      const services = join(unfinished, 'services');
      const flags = ['--omit=dev', '--omit=optional', '--ignore-scripts', '--no-audit', '--no-fund'];
      await promisify(execFile)('npm', ['ci', ...flags], { cwd: services });
      return services;
    });
  }
  return { folder, old: (name, more = {}) => ({ ...more, entry: join(folder, name, 'main.ts') }) };
}
