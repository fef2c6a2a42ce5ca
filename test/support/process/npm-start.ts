// `npm start` as a child process in a folder and on ports of its own, with what it prints. It ends with the test's process.
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { controlProcess, type ServerProcess, spawnGuarded } from '../../../dev/process/child-process.ts';
import { freePort } from '../../../dev/process/ports.ts';
import { HopelessError, waitFor } from '../wait.ts';
import { noteProcess } from './test-directory.ts';

const repository = join(import.meta.dirname, '..', '..', '..');

/** The last line that it prints when all runs. */
export const startIsUp = 'Everything stays up until Ctrl-C.';

export type NpmStart = ServerProcess & {
  output(): string;
  waitForOutput(text: string, deadlineMs?: number): Promise<void>;
};

export type StartEnvironment = Readonly<Record<string, string | undefined>>;

/** An environment with free ports, for the folder `home`. */
export async function startEnvironment(home: string): Promise<StartEnvironment> {
  const ports = ['ORDER_API_PORT', 'CDC_READER_PORT', 'CART_SINK_PORT', 'ORDER_POSTGRES_PORT', 'CART_POSTGRES_PORT'];
  const { PATH, HOME, TMPDIR, JAVA_HOME, XDG_CACHE_HOME } = process.env;
  const chosen = [];
  for (const name of [...ports, 'KAFKA_PORT']) chosen.push([name, String(await freePort())]);
  return { PATH, HOME, TMPDIR, JAVA_HOME, XDG_CACHE_HOME, TILLSTREAM_HOME: home, ...Object.fromEntries(chosen) };
}

/** Runs `npm start`'s command; `entry` is another version's, in a folder of its own. */
export async function npmStart(
  env: StartEnvironment,
  { folder, entry, args = [] }: { folder: string; entry: string; args?: readonly string[] } = {
    folder: repository,
    entry: 'dev/start/main.ts',
  },
): Promise<NpmStart> {
  const child = await spawnGuarded(process.execPath, [join(folder, entry), ...args], {
    cwd: folder,
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
    lastSignal: 'SIGTERM',
  });
  const control = controlProcess('npm start', child);
  const forget = noteProcess('npm start', control.pid);
  void control.exited.then(forget);
  const lines: string[] = [];
  for (const input of [child.stdout!, child.stderr!]) createInterface({ input }).on('line', (line) => lines.push(line));
  const output = () => lines.join('\n');
  return {
    ...control,
    output,
    async waitForOutput(text, deadlineMs = 90_000) {
      await waitFor(
        `"${text}" from npm start`,
        () => {
          if (output().includes(text)) return true;
          if (control.exit() === undefined) return false;
          throw new HopelessError(new Error(`npm start ended without "${text}":\n${output()}`));
        },
        { deadlineMs },
      );
    },
  };
}
