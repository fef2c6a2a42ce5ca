// Postgres refuses to run as root. When we are root (a container, a CI machine), it runs as the user that owns its data
// folder already, else as `postgres`, else as `nobody`: no user is created. That user must be able to reach the binaries
// and the data folder, which it is not below a home of mode 0700; this file asks, by trying as that user, and finds a
// place that can be reached instead. What to put there is up to the caller.

import { spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';

/** The user that a server runs as; undefined stands for ourselves. */
export type ServerUser = { uid: number; gid: number } | undefined;

/** No folder can be used by the user that Postgres must run as. */
export class UnreachableFolderError extends Error {
  readonly code = 'unreachable_folder';

  constructor(what: string, folder: string, { uid }: { uid: number }) {
    super(
      `Postgres can't run as root, and user id ${uid}, which it would run as, can't reach ${what} in ${folder}, ` +
        `nor any place for a copy (${temporaryPlaces.join(', ')}). ` +
        `Open the parent folders (chmod o+x), set TMPDIR to a folder that every user may enter and execute programs ` +
        `from, or run this as an ordinary user.`,
    );
    this.name = 'UnreachableFolderError';
  }
}

/** Returns whom Postgres must run as: undefined unless this process is root. Throws when there is no such user. */
export function findServerUser(dataDirectory: string): ServerUser {
  if (process.getuid?.() !== 0) return undefined;
  if (existsSync(dataDirectory)) {
    const { uid, gid } = statSync(dataDirectory);
    if (uid !== 0) return { uid, gid };
  }
  for (const name of ['postgres', 'nobody']) {
    const [uid, gid] = [readId('-u', name), readId('-g', name)];
    if (uid !== undefined && gid !== undefined) return { uid, gid };
  }
  throw new Error(
    'Postgres does not run as root, and this machine has neither a user "postgres" nor "nobody". ' +
      'Create one (useradd --system postgres) or run this as an ordinary user.',
  );
}

/** Tells whether `user` can enter the folder, or read and execute the file, at `path`. */
export function canReach(path: string, user: ServerUser): boolean {
  const script = 'test -r "$1" && test -x "$1"';
  return spawnSync('sh', ['-c', script, 'test', path], { cwd: '/', stdio: 'ignore', ...(user ?? {}) }).status === 0;
}

/** Temporary folders, where something that must be reached by every user may be put. */
const temporaryPlaces: readonly string[] = [...new Set([tmpdir(), '/var/tmp'])];

/** Returns the places, best first, where something for `user` may be put; those that we can't write to are left out. */
export function reachablePlaces(user: ServerUser, { persistent }: { persistent: boolean }): string[] {
  // What is in /var/tmp outlives a restart of the machine.
  const places = persistent ? temporaryPlaces.toReversed() : temporaryPlaces;
  return places.filter((place) => {
    try {
      accessSync(place, constants.W_OK);
    } catch {
      return false;
    }
    return canReach(place, user);
  });
}

function readId(flag: '-u' | '-g', name: string): number | undefined {
  const { status, stdout } = spawnSync('id', [flag, name], { encoding: 'utf8' });
  return status === 0 ? Number.parseInt(stdout, 10) : undefined;
}
