// podman or docker, whichever works here, as far as the compose test needs it: build an image, run containers on the
// host's network, ask and stop them. Where no engine works, the error says what to install. Output of a command that
// fails is in its error.

import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const execute = promisify(execFile);

/** No container engine works on this machine; the message says what to install. */
class NoContainerEngineError extends Error {
  readonly code = 'no_container_engine';

  constructor(tried: readonly string[]) {
    super(
      `npm run test:compose needs a container engine, and none works here. Install podman (on Debian, as root: ` +
        `apt-get install podman runc netavark aardvark-dns), or start Docker. Tried:\n${tried.join('\n')}`,
    );
    this.name = 'NoContainerEngineError';
  }
}

export interface ContainerEngine {
  readonly name: 'podman' | 'docker';
  /** Runs one command of the engine and returns what it printed, trimmed; throws with its complaint when it fails. */
  run(args: readonly string[], options?: { deadlineMs?: number }): Promise<string>;
  /** Whether an image of that name is here already. */
  hasImage(image: string): Promise<boolean>;
}

/** Finds the engine that answers. Throws {@link NoContainerEngineError}. */
export async function findContainerEngine(): Promise<ContainerEngine> {
  const tried: string[] = [];
  for (const name of ['podman', 'docker'] as const) {
    try {
      await execute(name, ['info'], { timeout: 30_000 });
      return createEngine(name);
    } catch (error) {
      const { code, stderr } = error as NodeJS.ErrnoException & { stderr?: string };
      tried.push(`  ${name}: ${code === 'ENOENT' ? 'not installed' : (stderr ?? '').trim().split('\n').at(-1)}`);
    }
  }
  throw new NoContainerEngineError(tried);
}

/** Where this runs in a container itself, an engine may not set its own defaults (nofile 1,048,576), and starts nothing. */
const ulimits = ['--ulimit', 'nofile=16384:16384', '--ulimit', 'nproc=16384:16384'];

function createEngine(name: 'podman' | 'docker'): ContainerEngine {
  const run: ContainerEngine['run'] = async ([command = '', ...rest], { deadlineMs = 120_000 } = {}) => {
    const args = [command, ...(command === 'run' ? ulimits : []), ...rest];
    try {
      const { stdout } = await execute(name, args, { timeout: deadlineMs, maxBuffer: 64 * 1024 * 1024 });
      return stdout.trim();
    } catch (cause) {
      const { stdout = '', stderr = '' } = cause as { stdout?: string; stderr?: string };
      const lines = `${stdout}\n${stderr}`.trim().split('\n').slice(-30).join('\n');
      throw new Error(`${name} ${args.slice(0, 3).join(' ')} failed:\n${lines}`, { cause });
    }
  };
  const hasImage = async (image: string) => {
    try {
      await execute(name, ['image', 'inspect', image], { maxBuffer: 64 * 1024 * 1024 });
      return true;
    } catch (error) {
      if (typeof (error as { code?: unknown }).code === 'number') return false;
      throw error;
    }
  };
  return { name, run, hasImage };
}
