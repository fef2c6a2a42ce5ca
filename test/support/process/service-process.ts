// One of the three services as a real process, started the way `npm run` does it and driven by signals. Its environment
// holds only what the test gives it, so that KAFKA_BROKERS or database URLs of the developer's shell never reach it. Logs
// are collected from stdout; what it did to the databases and Kafka is for the test to look up there.

import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { controlProcess, type ProcessExit, spawnGuarded } from '../../../dev/process/child-process.ts';
import { freePort } from '../../../dev/process/ports.ts';
import { HopelessError, waitFor } from '../../../dev/process/wait-for.ts';
import { serviceFlags } from '../../../dev/start/service-flags.ts';
import { childEnv, withFailpoints } from './child-env.ts';
import { parseMetrics } from './prometheus-text.ts';
import { noteProcess } from './test-directory.ts';

export type ServiceName = 'order-api' | 'cdc-reader' | 'cart-sink';
/** A line that a service's logger wrote: the level by name, the time as ISO 8601. */
export type LogEntry = { level: string; time: string; msg?: string; event?: string; [field: string]: unknown };

export type Service = {
  readonly name: string;
  readonly url: string;
  readonly pid: number;
  /** Every log line so far, parsed. */
  readonly logs: readonly LogEntry[];
  /** What it wrote that is not a log line (stderr, warnings), line by line. */
  readonly output: readonly string[];
  readonly exitCode: number | null | undefined;
  /** The first entry from index `from` whose `event` or `msg` is `event`; throws when the service ends before. */
  waitForLog(event: string, options?: { deadlineMs?: number; from?: number }): Promise<LogEntry>;
  /** Waits until /health/ready answers 200; throws with the last lines of output when the service ends before. */
  waitReady(options?: { deadlineMs?: number }): Promise<void>;
  /** Status and body of /health/ready. Throws when nothing listens. */
  ready(): Promise<{ status: number; body: Record<string, unknown> }>;
  /** The series of /metrics by name and labels as written, for example `tillstream_halted{code="slot_lost"}`. */
  metrics(): Promise<Map<string, number>>;
  /** SIGTERM; throws when it has not ended after `deadlineMs` (20,000). */
  stop(options?: { deadlineMs?: number }): Promise<ProcessExit>;
  kill(): Promise<ProcessExit>;
  pause(): void;
  resume(): void;
  /** Resolves when it ends, for whatever reason. */
  readonly exited: Promise<ProcessExit>;
};

const running = new Set<Service>();
const repository = join(import.meta.dirname, '..', '..', '..');

export type ServiceOptions = {
  /** Instead of its main.ts. */
  readonly entry?: string;
  /** For Node, before the entry. */
  readonly nodeArgs?: readonly string[];
  /** For the service. */
  readonly args?: readonly string[];
  /** As failpoints.ts reads them. */
  readonly failpoints?: string | undefined;
};

/** Starts a service on a free port of 127.0.0.1. */
export async function startService(
  name: ServiceName,
  env: Readonly<Record<string, string>>,
  { entry = join(repository, name, 'main.ts'), nodeArgs = [], args = [], failpoints }: ServiceOptions = {},
): Promise<Service> {
  const port = env.PORT ?? String(await freePort());
  const stops = withFailpoints(failpoints);
  const child = await spawnGuarded(
    process.execPath,
    [...serviceFlags, ...stops.nodeArgs, ...nodeArgs, entry, ...args],
    {
      cwd: repository,
      env: { ...childEnv(), HOST: '127.0.0.1', LOG_LEVEL: 'debug', ...stops.env, ...env, PORT: port },
      stdio: ['ignore', 'pipe', 'pipe'],
      lastSignal: 'SIGKILL',
    },
  );
  const control = controlProcess(name, child);
  const forget = noteProcess(name, control.pid);
  const logs: LogEntry[] = [];
  const output: string[] = [];
  createInterface({ input: child.stdout! }).on('line', (line) => {
    const entry = parseLogLine(line);
    if (entry === undefined) output.push(line);
    else logs.push(entry);
  });
  createInterface({ input: child.stderr! }).on('line', (line) => output.push(line));

  const url = `http://127.0.0.1:${port}`;
  const failWhenEnded = () => {
    const exit = control.exit();
    if (exit === undefined) return;
    const lines = [...logs.slice(-8).map((entry) => JSON.stringify(entry)), ...output.slice(-12)].join('\n');
    throw new HopelessError(new Error(`${name} ended (${exit.signal ?? `exit code ${exit.code}`}):\n${lines}`));
  };
  const get = (path: string) => fetch(`${url}${path}`, { signal: AbortSignal.timeout(5_000) });
  const ready: Service['ready'] = async () => {
    const response = await get('/health/ready');
    return { status: response.status, body: (await response.json()) as Record<string, unknown> };
  };
  const service: Service = {
    name,
    url,
    pid: control.pid,
    logs,
    output,
    exited: control.exited,
    get exitCode() {
      return control.exit()?.code;
    },
    waitForLog: (event, { deadlineMs = 20_000, from = 0 } = {}) =>
      waitFor(
        `the log event "${event}" of ${name}`,
        () => {
          const entry = logs.slice(from).find((candidate) => candidate.event === event || candidate.msg === event);
          if (entry === undefined) failWhenEnded();
          return entry;
        },
        { deadlineMs },
      ),
    async waitReady({ deadlineMs = 30_000 } = {}) {
      await waitFor(
        `${name} to be ready`,
        async () => {
          failWhenEnded();
          const { status, body } = await ready();
          if (status !== 200) throw new Error(`/health/ready answers ${status}: ${JSON.stringify(body)}`);
          return true;
        },
        { deadlineMs, everyMs: 50 },
      );
    },
    ready,
    metrics: async () => parseMetrics(await (await get('/metrics')).text()),
    stop: ({ deadlineMs = 20_000 } = {}) => control.stop('SIGTERM', deadlineMs),
    kill: control.kill,
    pause: () => control.signal('SIGSTOP'),
    resume: () => control.signal('SIGCONT'),
  };
  running.add(service);
  void control.exited.then(() => {
    running.delete(service);
    forget();
  });
  return service;
}

/** Stops every service that this worker has started and that still runs; throws when one had to be killed. */
export async function stopAllServices(): Promise<void> {
  const results = await Promise.allSettled(
    [...running].map(async (service) => {
      try {
        await service.stop();
      } catch (error) {
        await service.kill();
        throw error;
      }
    }),
  );
  const failures = results.flatMap((result) => (result.status === 'rejected' ? [result.reason] : []));
  if (failures.length > 0) throw new AggregateError(failures, 'Services did not stop when told to, and were killed.');
}

function parseLogLine(line: string): LogEntry | undefined {
  if (!line.startsWith('{')) return undefined;
  try {
    return JSON.parse(line) as LogEntry;
  } catch {
    return undefined;
  }
}
