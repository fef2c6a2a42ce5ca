/**
 * The lifetime of a service's process: start, run until SIGTERM or SIGINT, drain, exit.
 *
 * Exit codes: 0 after a clean stop, 78 for bad configuration (every problem on stderr), 1 for everything else. An uncaught
 * exception ends the process at once: the pipeline survives a crash, but not a process in an unknown state.
 */
import { readVersion } from './command-line/version.ts';
import { withDeadline } from './deadline.ts';
import { ConfigurationError } from './environment.ts';
import type { Logger } from './logger.ts';
import { createLogger } from './logger.ts';
import { startTracing, stopTracing } from './tracing/tracing.ts';

const SERVICE_STOPPING = 'service.stopping';
const SERVICE_STOPPED = 'service.stopped';
const SERVICE_START_ABANDONED = 'service.start-abandoned';
const SERVICE_FAILED = 'service.failed';

/** sysexits.h: EX_CONFIG. */
const EXIT_BAD_CONFIGURATION = 78;
const EXIT_FAILED = 1;

/** A start that has not ended this long after a stop signal waits for a silent server and has nothing to drain. */
const START_GRACE_MS = 3_000;

/** Just below the ten seconds after which container engines send SIGKILL by default; SHUTDOWN_DELAY_MS comes on top. */
const STOP_DEADLINE_MS = 9_500;

export interface RunningService {
  /** Drains and releases everything; called once. */
  close(): Promise<void>;
  readonly logger: Logger;
  /** What `close` waits for before it drains: time that the deadline of the stop does not count. */
  readonly shutdownDelayMs: number;
}

export interface RunOptions {
  readonly service: string;
  readonly process: NodeJS.Process;
  /** `signal` is aborted when the process gets a stop signal before the start has ended. */
  readonly start: (signal: AbortSignal) => Promise<RunningService>;
  /** For --check-config: prints what the servers have and returns the exit code. */
  readonly check?: () => Promise<number>;
  readonly stopDeadlineMs?: number;
  readonly startGraceMs?: number;
}

/** Resolves when the service is running; from then on the process ends by a signal or a crash. */
export async function runService(options: RunOptions): Promise<void> {
  const { service, process, start, stopDeadlineMs = STOP_DEADLINE_MS, startGraceMs = START_GRACE_MS } = options;
  if (process.argv.includes('--version')) {
    process.stdout.write(`${service} ${readVersion()} (commit ${process.env.TILLSTREAM_COMMIT || 'unknown'})\n`);
    return;
  }
  if (options.check !== undefined && process.argv.includes('--check-config')) {
    process.exitCode = await options.check().catch((error) => reportBadConfiguration(service, process, error));
    return;
  }
  const abort = new AbortController();
  let logger = createLogger(service, 'info');

  const fail = (reason: string, error: unknown): never => {
    const message = error instanceof Error ? error.message : String(error);
    logger.fatal({ event: SERVICE_FAILED, reason, err: error }, `${service} failed: ${reason}: ${message}`);
    return process.exit(EXIT_FAILED);
  };
  process.on('uncaughtException', (error) => fail('uncaught exception', error));
  process.on('unhandledRejection', (error) => fail('unhandled rejection', error));

  // Listened for before the start begins: an unheard signal would end the process in the midst of it.
  const stop = (signal: NodeJS.Signals) => {
    // A terminal's Ctrl-C reaches a process twice: from the terminal, and from npm.
    if (abort.signal.aborted) return;
    abort.abort();
    logger.info({ event: SERVICE_STOPPING, signal }, `${service} is stopping`);
    const failAfter = (ms: number) =>
      setTimeout(() => fail('stop took too long', new Error(`not stopped after ${ms} ms`)), ms);
    const deadline = failAfter(stopDeadlineMs);
    withDeadline(starting, startGraceMs, () => new Error(`the start did not end within ${startGraceMs} ms`))
      // A start that fails because of the stop signal has stopped.
      .then(
        (running) => {
          clearTimeout(deadline);
          failAfter(stopDeadlineMs + running.shutdownDelayMs);
          return running.close().then(stopTracing);
        },
        (error) =>
          logger.debug({ event: SERVICE_START_ABANDONED, err: error }, 'Start abandoned because of the stop signal'),
      )
      .then(
        () => {
          logger.info({ event: SERVICE_STOPPED }, `${service} has stopped`);
          process.exit(0);
        },
        (error) => fail('stop failed', error),
      );
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
  const starting = startTracing(service, process.env).then(() => start(abort.signal));

  try {
    logger = (await starting).logger;
  } catch (error) {
    // The stop is in progress, and ends the process.
    if (abort.signal.aborted) return new Promise(() => undefined);
    if (!(error instanceof ConfigurationError)) return fail('start failed', error);
    process.exit(reportBadConfiguration(service, process, error));
  }
}

/** @returns the exit code; throws what is no bad configuration */
function reportBadConfiguration(service: string, process: NodeJS.Process, error: unknown): number {
  if (!(error instanceof ConfigurationError)) throw error;
  const problems = error.problems.map((problem) => `  - ${problem}\n`).join('');
  process.stderr.write(`${service}: bad configuration\n${problems}`);
  return EXIT_BAD_CONFIGURATION;
}
