// A file system of its own, in memory, so small that a test can fill it: only a real one makes a server meet ENOSPC where
// it really would. Mounting needs root. What a killed run leaves mounted is found by its folder and unmounted by the next.

import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export type SmallDisk = {
  readonly path: string;
  /** Takes all the space that is left. */
  fill(): void;
  /** Gives it back. */
  free(): void;
};

/** Mounts an empty disk at `path`, which every user may enter. Throws when this user may not mount. */
export function mountSmallDisk(path: string, megabytes: number): SmallDisk {
  mkdirSync(path);
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m,mode=755`, 'tmpfs', path]);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message.trim() : String(cause);
    throw new Error(
      `The test of a full disk mounts a small one (tmpfs), which takes Linux and root; mount says: ${reason}`,
      { cause },
    );
  }
  chmodSync(path, 0o755);
  const filler = join(path, 'filler');
  return {
    path,
    fill() {
      const { bavail, bsize } = statfsSync(path);
      try {
        writeFileSync(filler, Buffer.alloc(bavail * bsize));
      } catch (error) {
        // The server has written meanwhile: what it took we don't get, and full it is.
        if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
      }
    },
    free: () => rmSync(filler, { force: true }),
  };
}

/** Unmounts every disk below `directory`; files in use go on until they are closed. */
export function unmountBelow(directory: string): void {
  const table = '/proc/mounts'; // Linux's; nothing is mounted elsewhere
  if (!existsSync(table)) return;
  for (const line of readFileSync(table, 'utf8').split('\n')) {
    const [, path] = line.split(' ');
    if (path?.startsWith(`${directory}/`)) execFileSync('umount', ['--lazy', path]);
  }
}
