/**
 * Preloaded into a service's process (`node --import ./test/support/process/failpoints.ts …`) to stop it at an exact moment.
 *
 * TILLSTREAM_FAILPOINTS is a comma-separated list of name=action[:nth]. At the nth hit (the first by default) of the
 * failpoint: `kill` sends SIGKILL to itself; `pause` prints {"event":"failpoint.paused","name":…} on a line of standard
 * output and waits for SIGUSR2; `throw` throws. Only this module reads that variable.
 */
import { writeSync } from 'node:fs';
import process from 'node:process';
import { setFailpointHandler } from '../../../service/failpoint.ts';

type Action = 'kill' | 'pause' | 'throw';

interface Failpoint {
  readonly action: Action;
  readonly nth: number;
  hits: number;
}

const FORM = /^([^=]+)=(kill|pause|throw)(?::([1-9]\d*))?$/;

function parseFailpoints(text: string): Map<string, Failpoint> {
  const failpoints = new Map<string, Failpoint>();
  for (const entry of text.split(',').filter((part) => part.trim() !== '')) {
    const match = FORM.exec(entry.trim());
    if (match === null) throw new Error(`TILLSTREAM_FAILPOINTS: ${entry}: expected name=kill|pause|throw[:nth]`);
    failpoints.set(match[1]!, { action: match[2] as Action, nth: Number(match[3] ?? 1), hits: 0 });
  }
  return failpoints;
}

const failpoints = parseFailpoints(process.env.TILLSTREAM_FAILPOINTS ?? '');

setFailpointHandler((name) => {
  const failpoint = failpoints.get(name);
  if (failpoint === undefined || ++failpoint.hits !== failpoint.nth) return;
  switch (failpoint.action) {
    case 'throw':
      throw new Error(`failpoint ${name}`);
    case 'kill':
      process.kill(process.pid, 'SIGKILL');
      // Not one instruction more, however long the kernel takes.
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
      return;
    case 'pause':
      return pause(name);
  }
});

function pause(name: string): Promise<void> {
  return new Promise((resume) => {
    // A listener for a signal does not keep a process alive.
    const alive = setInterval(() => undefined, 1_000_000);
    process.once('SIGUSR2', () => {
      clearInterval(alive);
      resume();
    });
    // Printed last: whoever reads the line may send the signal at once.
    writeSync(1, `${JSON.stringify({ event: 'failpoint.paused', name })}\n`);
  });
}
