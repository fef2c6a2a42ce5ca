// How the operators' commands end, whatever happens: bad arguments 64, a server away or another failure the tool's own
// code, bad configuration 78, each with words on stderr and no stack. Guarantees: argument errors name the argument;
// values of the environment are never repeated. What a tool's own codes mean is the tool's to say.
import { Command, CommanderError, InvalidArgumentError } from 'commander';
import { ConfigurationError } from '#service/environment.ts';

/** sysexits.h: EX_USAGE and EX_CONFIG. */
export const EXIT_BAD_ARGUMENTS = 64;
export const EXIT_BAD_CONFIGURATION = 78;

/** What a tool needs of its process, so that only main.ts touches it. */
export interface ToolProcess {
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdout: { write(text: string): unknown; readonly isTTY?: boolean };
  readonly stderr: { write(text: string): unknown };
  exitCode?: number | string | null | undefined;
}

/** An end that the operator brought about or has to act on: its message goes to stderr as it is. */
export class ToolRefusal extends Error {
  readonly exitCode: number;

  constructor(message: string, exitCode = 1) {
    super(message);
    this.name = 'ToolRefusal';
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

/** Runs `work` and sets the exit code: what `work` returns, or by what it throws; `failureCode` for anything else. */
export async function runTool(
  name: string,
  process: ToolProcess,
  failureCode: number,
  work: () => Promise<number>,
): Promise<void> {
  const say = (text: string) => process.stderr.write(`${text}\n`);
  try {
    process.exitCode = await work();
  } catch (error) {
    if (error instanceof CommanderError) {
      process.exitCode = error.exitCode === 0 ? 0 : EXIT_BAD_ARGUMENTS; // commander has said why, or shown the help
    } else if (error instanceof ConfigurationError) {
      say(`${name}: bad configuration\n${error.problems.map((problem) => `  - ${problem}`).join('\n')}`);
      process.exitCode = EXIT_BAD_CONFIGURATION;
    } else if (error instanceof ToolRefusal) {
      say(`${name}: ${error.message}`);
      process.exitCode = error.exitCode;
    } else {
      const { message, code } = error as Error & { code?: string };
      say(`${name}: ${message || code || String(error)}`);
      process.exitCode = failureCode;
    }
  }
}
