// The frame of every command: how it ends. Bad arguments 64, bad configuration 78, an unavailable server or any other failure
// the command's own code, each with a message on stderr and no stack. Guarantees: argument errors name the argument; values
// of the environment are never repeated; a command whose stdout or stderr is closed (`| head`) finishes what it began.
import { Command, CommanderError, InvalidArgumentError } from 'commander';
import { classifyKafkaFailure } from '#kafka/failure.ts';
import { ConfigurationError } from '#service/environment.ts';

/** sysexits.h: EX_USAGE and EX_CONFIG. */
export const EXIT_BAD_ARGUMENTS = 64;
export const EXIT_BAD_CONFIGURATION = 78;

interface Output {
  write(text: string): unknown;
  on(event: 'error', listener: (error: Error & { code?: string }) => void): unknown;
}

/** What the frame needs of the process. */
export interface ToolProcess {
  readonly stdout: Output;
  readonly stderr: Output;
  exitCode?: number | string | null | undefined;
}

/** An end that the operator caused or has to act on: its message goes to stderr as it is. */
export class ToolRefusal extends Error {
  readonly exitCode: number;

  constructor(message: string, exitCode = 1, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
    this.exitCode = exitCode;
  }
}

/** A command that throws instead of ending the process. `name` as in `npm run <name> -- …`. */
export function createCommand(name: string, description: string): Command {
  return new Command(`npm run ${name} --`).description(description).exitOverride().showHelpAfterError();
}

/** Reads a whole number from `min` on. @throws InvalidArgumentError, which names the option */
export function parseCount(min: number, max: number): (text: string) => number {
  return (text) => {
    const number = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
    if (!(number >= min && number <= max)) throw new InvalidArgumentError(`Expected a whole number, ${min} to ${max}.`);
    return number;
  };
}

/** `Error: ` of a connection refused on several addresses is empty, and has only a code. What a person can do comes behind. */
export function describeError(error: unknown): string {
  const { message, code } = error as Error & { code?: string };
  const what = message || code || String(error);
  const failure = classifyKafkaFailure(error);
  const hasRemedy = failure.kind !== 'waiting' || what.includes(failure.remedy);
  return hasRemedy ? what : `${what.replace(/\.$/, '')}. ${failure.remedy}`;
}

/** Runs `work` and sets the exit code: what `work` returns, or by what it throws; `failureCode` for anything else. */
export async function runTool(
  name: string,
  process: ToolProcess,
  failureCode: number,
  work: () => Promise<number>,
): Promise<void> {
  const report = (text: string) => process.stderr.write(`${name}: ${text}\n`);
  let lostOutput: Error | undefined;
  process.stdout.on('error', (error) => {
    if (error.code !== 'EPIPE') lostOutput ??= error; // EPIPE: whoever read has read enough
  });
  process.stderr.on('error', () => undefined); // there is nowhere left to report it
  try {
    process.exitCode = await work();
    if (lostOutput === undefined) return;
    report(`standard output could not be written (${describeError(lostOutput)})`);
    process.exitCode ||= failureCode;
  } catch (error) {
    if (error instanceof CommanderError) {
      process.exitCode = error.exitCode === 0 ? 0 : EXIT_BAD_ARGUMENTS; // commander has printed the error, or the help
    } else if (error instanceof ConfigurationError) {
      report(`bad configuration\n${error.problems.map((problem) => `  - ${problem}`).join('\n')}`);
      process.exitCode = EXIT_BAD_CONFIGURATION;
    } else {
      report(describeError(error));
      process.exitCode = error instanceof ToolRefusal ? error.exitCode : failureCode;
    }
  }
}
