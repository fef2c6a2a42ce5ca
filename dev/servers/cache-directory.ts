import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

/** Where this user's downloads are kept, outside the repository and shared by its clones. */
export function userCacheDirectory(): string {
  return join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'tillstream');
}

/**
 * Makes the folder `target` out of what `make` leaves in the folder whose path it returns, which must be below the empty
 * one it is given. The target is complete whenever it exists: of two processes at once, the second keeps the first's.
 */
export async function makeWhole(target: string, make: (unfinished: string) => Promise<string>): Promise<void> {
  mkdirSync(join(target, '..'), { recursive: true });
  const unfinished = mkdtempSync(`${target}-`);
  try {
    renameSync(await make(unfinished), target);
  } catch (error) {
    if (!existsSync(target)) throw error;
  } finally {
    rmSync(unfinished, { recursive: true, force: true });
  }
}
