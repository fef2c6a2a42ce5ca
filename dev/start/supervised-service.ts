// One of the three services under `npm start`: its process, its log file, and what happens when it dies. Guarantees: a
// service that ends before it was ready once fails the start; later, its end is reported with its last log lines and it
// is started again (I8), after a second and then ever more slowly. Someone who has killed it to run it by hand keeps the
// port: while it is taken, the service is left to them.

import { readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { type BackOff, backOffMs } from '#service/retry.ts';
import { type ServerProcess, StopDeadlineError, startServerProcess } from '../process/child-process.ts';
import { isPortFree } from '../process/ports.ts';
import { HopelessError, waitFor } from '../process/wait-for.ts';
import type { ServicePlan } from './service-environment.ts';
import { serviceFlags } from './service-flags.ts';

/** Longer than the 9.5 s that a service gives itself to drain. */
const stopDeadlineMs = 12_000;
const backOff: BackOff = { firstMs: 1_000, longestMs: 30_000 };
const portPollMs = 1_000;
/** Whoever has run for this long has not died of what it died of before. */
const recoveredMs = 60_000;
/** The slowest thing in it is a reader that waits for the slot of a killed one: 10 s. */
const readyDeadlineMs = 90_000;
const firstSayMs = 10_000;
const longestAnswer = 300;

export type SupervisedService = {
  readonly plan: ServicePlan;
  readonly logFile: string;
  /** The process id, undefined while it does not run. */
  pid(): number | undefined;
  /** Waits until `isReady` accepts what /health/ready answers; from then on the service is restarted when it dies. */
  waitReady(isReady: (body: ReadyBody) => boolean, signal: AbortSignal): Promise<void>;
  /** Lets it drain (SIGTERM), and stops it by force where that takes too long. */
  close(): Promise<void>;
};

/** What /health/ready answers, as far as it is read here. */
export type ReadyBody = {
  readonly status: number;
  readonly pipeline?: string;
  readonly partitions?: readonly unknown[];
  readonly halted?: { readonly code: string; readonly message: string };
};

/** The service ended, or did not become ready, or has halted; the message says which, with its own words. */
export class ServiceStartError extends Error {
  readonly code = 'service_start';
  /** What the service ended with; undefined when it runs. */
  readonly exitCode: number | undefined;

  constructor(message: string, exitCode?: number) {
    super(message);
    this.name = 'ServiceStartError';
    this.exitCode = exitCode;
  }
}

/** Starts the service with its output in `logFolder` and its pid file in `pidFolder`. */
export async function startSupervisedService(options: {
  plan: ServicePlan;
  env: Readonly<Record<string, string | undefined>>;
  repository: string;
  logFolder: string;
  pidFolder: string;
  say: (message: string) => void;
}): Promise<SupervisedService> {
  const { plan, env, repository, say } = options;
  const { name, url } = plan;
  const logFile = join(options.logFolder, `${name}.log`);
  const stopping = new AbortController();
  let server: ServerProcess | undefined;
  let wasReady = false;
  let recovering: Promise<void> = Promise.resolve();

  const run = async (): Promise<void> => {
    const startedMs = performance.now();
    const started = await startServerProcess({
      what: name,
      command: process.execPath,
      args: [...serviceFlags, join(repository, name, 'main.ts')],
      cwd: repository,
      env,
      logFile,
      pidFile: join(options.pidFolder, `${name}.pid.json`),
      lastSignal: 'SIGTERM',
    });
    server = started;
    void started.exited.then(() => {
      if (stopping.signal.aborted || !wasReady) return;
      recovering = recover(performance.now() - startedMs).catch((error: Error) =>
        say(`${name} could not be restarted: ${error.message}\nStop the rest (Ctrl-C) and run npm start again.`),
      );
    });
  };

  const describeEnd = (): string => {
    const exit = server?.exit();
    const how = exit?.signal ?? `exit code ${exit?.code}`;
    return `${name} ended (${how}). The end of its log, ${logFile}:\n${formatLogLines(readFileSync(logFile, 'utf8'), wasReady ? 6 : 16)}`;
  };

  let failures = 0;
  const recover = async (lifeMs: number): Promise<void> => {
    failures = lifeMs > recoveredMs ? 1 : failures + 1;
    const delayMs = backOffMs(backOff, failures);
    say(`${describeEnd()}\n${name} is started again in ${delayMs / 1_000} s.`);
    try {
      await delay(delayMs, undefined, { signal: stopping.signal });
      await untilPortFree(plan, say, stopping.signal);
      await run();
      say(`${name} runs again (process ${server?.pid}).`);
    } catch (error) {
      if (!stopping.signal.aborted) throw error;
    }
  };

  const waitReady: SupervisedService['waitReady'] = async (isReady, signal) => {
    const startedMs = performance.now();
    let sayAfterMs = firstSayMs;
    await waitFor(
      `${name} to be ready (its log: ${logFile})`,
      async () => {
        if (signal.aborted) throw new HopelessError(signal.reason);
        if (server?.exit() !== undefined) {
          throw new HopelessError(new ServiceStartError(describeEnd(), server.exit()?.code ?? undefined));
        }
        const body = await readReady(url);
        if (body.halted !== undefined) {
          const { code, message } = body.halted;
          throw new HopelessError(new ServiceStartError(`${name} has halted (${code}): ${message}`));
        }
        if (isReady(body)) return true;
        const found = `/health/ready answers ${JSON.stringify(body).slice(0, longestAnswer)}`;
        if (performance.now() - startedMs > sayAfterMs) {
          say(`Still waiting for ${name}: ${found}`);
          sayAfterMs *= 2;
        }
        throw new Error(found);
      },
      { deadlineMs: readyDeadlineMs, everyMs: 50 },
    );
    wasReady = true;
  };

  await run();
  return {
    plan,
    logFile,
    pid: () => (server?.exit() === undefined ? server?.pid : undefined),
    waitReady,
    async close() {
      stopping.abort();
      await recovering;
      if (server === undefined || server.exit() !== undefined) return;
      try {
        await server.stop('SIGTERM', stopDeadlineMs);
      } catch (error) {
        if (!(error instanceof StopDeadlineError)) throw error;
        say(`${error.message} Stopping it by force; ${basename(logFile)} may say why.`);
        await server.kill();
      }
    },
  };
}

async function untilPortFree(
  { name, port }: ServicePlan,
  say: (message: string) => void,
  signal: AbortSignal,
): Promise<void> {
  for (let reported = false; !(await isPortFree(port)); reported = true) {
    if (!reported) say(`Port ${port} is in use: ${name} is not restarted until it is free.`);
    await delay(portPollMs, undefined, { signal });
  }
}

async function readReady(url: string): Promise<ReadyBody> {
  const response = await fetch(`${url}/health/ready`, { signal: AbortSignal.timeout(5_000) });
  return { ...((await response.json()) as object), status: response.status };
}

type Line = { level?: string; time?: string; msg?: string; err?: { message?: string } };

/** The last `count` lines of a service's log for a person to read: pino's lines shortened, all others as they are. */
export function formatLogLines(log: string, count: number): string {
  const lines = log.trimEnd().split('\n').slice(-count);
  return lines.map((line) => `    ${formatLine(line)}`).join('\n');
}

function formatLine(line: string): string {
  let entry: Line;
  try {
    entry = JSON.parse(line) as Line;
  } catch {
    return line;
  }
  if (entry?.time === undefined || entry.msg === undefined) return line;
  const cause = entry.err?.message === undefined || entry.err.message === entry.msg ? '' : `: ${entry.err.message}`;
  return `${entry.time} ${entry.level} ${entry.msg}${cause}`;
}
