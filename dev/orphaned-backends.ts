// Backends that outlive their postmaster. Nearly all notice its death and end at once; one was seen to stay for more
// than a minute, in a statement whose client was gone. No server starts in its folder until it is ended.
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
