// Whether rows of a large transaction could be spilled: found at a start, and not when the first such transaction comes.
import { accessSync, constants, statSync } from 'node:fs';

interface SpillProblem {
  readonly code: 'SPILL_DIRECTORY';
  readonly problem: string;
  readonly remedy: string;
}

/** Empty where files can be made in `directory`. How much fits on its disk shows only when it is full. */
export function findSpillProblems(directory: string): SpillProblem[] {
  const why = describeProblem(directory);
  if (why === undefined) return [];
  return [
    {
      code: 'SPILL_DIRECTORY',
      problem: `SPILL_DIRECTORY (${directory}) ${why}, so no database transaction larger than SPILL_BYTES can be published.`,
      remedy: 'Create it, make it writable for the user of the reader, or set SPILL_DIRECTORY to another directory.',
    },
  ];
}

function describeProblem(directory: string): string | undefined {
  try {
    if (!statSync(directory).isDirectory()) return 'is not a directory';
    accessSync(directory, constants.W_OK | constants.X_OK);
    return undefined;
  } catch (error) {
    const { code = 'unknown' } = error as { code?: string };
    return code === 'ENOENT' ? 'does not exist' : `can't be written to (${code})`;
  }
}
