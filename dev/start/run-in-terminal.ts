// The frame of a command that a person runs in a terminal until Ctrl-C. Guarantees: a stop ends with 0 once everything that
// was started has stopped, Ctrl-C pressed again changes nothing; bad configuration ends with 78, with all problems; any other
// error is said in words and ends with 1.
import { ConfigurationError } from '#service/environment.ts';
import { ServiceStartError } from './supervised-service.ts';

const exitBadConfiguration = 78;
const oldestNode = 26;

export interface TerminalRun {
  /** Aborted when the command is to stop. */
  readonly signal: AbortSignal;
  readonly say: (message: string) => void;
}

/**
 * Runs `work`, which returns the exit code once everything has stopped, and ends the process.
 * @param onStop what Ctrl-C does first: true when that is all it does this time
 */
export async function runInTerminal(
  command: string,
  work: (run: TerminalRun) => Promise<number>,
  onStop: () => boolean = () => false,
): Promise<never> {
  if (Number.parseInt(process.versions.node, 10) < oldestNode) {
    console.error(
      `This is Node ${process.versions.node}, and Tillstream needs ${oldestNode}. Use ${command}, which brings it (after npm ci).`,
    );
    process.exit(1);
  }
  const stopping = new AbortController();
  const { signal } = stopping;
  const say = (message: string) => console.log(message);
  const stop = (): void => {
    // A terminal's Ctrl-C arrives twice, from the terminal and from npm, and people press it again.
    if (signal.aborted || onStop()) return;
    say('\nStopping the services, then Kafka, then Postgres …');
    stopping.abort();
  };
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, stop);
  // A terminal that is gone takes no more messages, and that is no reason not to stop in order.
  process.stdout.on('error', () => undefined);
  process.stderr.on('error', () => undefined);

  let exitCode: number;
  try {
    exitCode = await work({ signal, say });
  } catch (error) {
    exitCode = report(command, error, signal);
  }
  if (signal.aborted && exitCode === 0) say('Everything has stopped. The data stays for the next npm start.');
  process.exit(exitCode);
}

/** The exit code for what ended the run, after having said what that was. */
function report(command: string, error: unknown, signal: AbortSignal): number {
  if (signal.aborted && error === signal.reason) return 0;
  if (error instanceof SuppressedError) {
    return Math.max(report(command, error.suppressed, signal), report(command, error.error, signal));
  }
  if (error instanceof ConfigurationError) {
    console.error(`${command}: bad configuration\n${error.problems.map((problem) => `  - ${problem}`).join('\n')}`);
    return exitBadConfiguration;
  }
  const { message, stack } = error as Error;
  console.error(`\n${command} could not go on. ${'code' in (error as Error) ? message : stack}`);
  return error instanceof ServiceStartError && error.exitCode === exitBadConfiguration ? exitBadConfiguration : 1;
}
