/**
 * `--check-config`: connects to everything that a configuration names and prints what it found, as a table.
 *
 * Guarantees: nothing is changed; every check runs, also after one has failed; the exit code is 0 where all is as it must be,
 * 78 where a person has to correct something, 69 where a server can't be reached. Leaves to the services: what is checked.
 */
import type { Failure } from '../failure.ts';

const EXIT_UNAVAILABLE = 69;
const EXIT_BAD_CONFIGURATION = 78;

type Row = readonly [what: string, found: string];

export interface Check {
  readonly what: string;
  /** What was found. @throws what is wrong */
  readonly find: () => Promise<readonly Row[]>;
}

export async function checkConfig(
  checks: readonly Check[],
  classify: (error: unknown) => Failure,
  write: (text: string) => unknown,
): Promise<number> {
  let exitCode = 0;
  for (const { what, find } of checks) {
    try {
      for (const [name, found] of await find()) write(`${what.padEnd(16)} ${name.padEnd(22)} ${found}\n`);
    } catch (error) {
      const failure = classify(error);
      const { message, code } = error as Error & { code?: string };
      const remedy = failure.kind === 'waiting' ? failure.remedy : '';
      const name = failure.kind === 'waiting' ? failure.name : failure.kind === 'transient' ? 'unreachable' : 'failed';
      write(`${what.padEnd(16)} ${name.padEnd(22)} ${message || code}${remedy === '' ? '' : ` ${remedy}`}\n`);
      // What a person corrects goes before what may end by itself.
      exitCode = failure.kind === 'transient' ? exitCode || EXIT_UNAVAILABLE : EXIT_BAD_CONFIGURATION;
    }
  }
  return exitCode;
}
