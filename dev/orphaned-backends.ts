// Backends that outlive their postmaster. Nearly all notice its death and end at once; one that waits for a lock inside
// of shared memory never does, and no server can start in its folder until somebody ends it, as Postgres's hint says.
import { readdirSync, readFileSync, readlinkSync, realpathSync } from 'node:fs';
import process from 'node:process';

/** Ends what is left of a server whose postmaster is gone, by id; only where /proc tells whose processes they are. */
export function endOrphanedBackends(dataDirectory: string): void {
  if (process.platform !== 'linux') return;
  const home = realpathSync(dataDirectory);
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    try {
      const isOurs = readlinkSync(`/proc/${entry}/cwd`) === home;
      if (isOurs && readFileSync(`/proc/${entry}/comm`, 'utf8') === 'postgres\n')
        process.kill(Number(entry), 'SIGKILL');
    } catch {
      // Ended meanwhile, or another user's.
    }
  }
}
