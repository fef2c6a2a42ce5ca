// All the ways in which StrykerJS would change the sources of reader, sink, schemas, service, kafka and tools, and a sample
// of them that a seed decides. Texts and log messages are not changed: no test should hold their words.

import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { createInstrumenter } from '@stryker-mutator/instrumenter';
import { createInjector } from 'typed-inject';
import { createRandom } from '../../dev/process/seeded-random.ts';

export interface SourceMutant {
  readonly file: string;
  /** Offsets in its text, in UTF-16 units. */
  readonly start: number;
  readonly end: number;
  readonly line: number;
  readonly mutator: string;
  readonly original: string;
  readonly replacement: string;
}

const repository = join(import.meta.dirname, '..', '..');
const areas = ['cdc-reader', 'cart-sink', 'schemas', 'service', 'kafka', 'tools', 'order-api'];
const excludedMutations = ['StringLiteral', 'Regex', 'ObjectLiteral'];

const silent = (): void => undefined;
const logger = {
  ...{
    isTraceEnabled: () => false,
    isDebugEnabled: () => false,
    isInfoEnabled: () => false,
    isWarnEnabled: () => false,
  },
  ...{ isErrorEnabled: () => false, isFatalEnabled: () => false },
  ...{ trace: silent, debug: silent, info: silent, warn: silent, error: silent, fatal: silent },
};

export async function listMutants(): Promise<SourceMutant[]> {
  const globs = areas.map((area) => `${area}/**/*.ts`);
  const list = ['ls-files', '-z', '--', ...globs.map((glob) => `:(glob)${glob}`)];
  const { stdout } = await promisify(execFile)('git', list, { cwd: repository });
  const paths = stdout.split('\0').filter((path) => path !== '');
  const files = paths.map((path) => ({
    name: path,
    content: readFileSync(join(repository, path), 'utf8'),
    mutate: true,
  }));
  const injector = createInjector()
    .provideValue('logger', logger)
    .provideValue('getLogger', () => logger);
  const instrumenter = injector.injectFunction(createInstrumenter);
  const options = { plugins: null, excludedMutations, ignorers: [], noHeader: true };
  const { mutants } = await instrumenter.instrument(files, options);
  const contents = new Map(files.map(({ name, content }) => [name, content]));
  return mutants
    .filter(({ status }) => status !== 'Ignored')
    .map(({ fileName, location, mutatorName, replacement = '' }) => {
      const text = contents.get(fileName)!;
      const start = offsetOf(text, location.start);
      const end = offsetOf(text, location.end);
      const original = text.slice(start, end);
      return { file: fileName, start, end, line: location.start.line + 1, mutator: mutatorName, original, replacement };
    });
}

/** `line` and `column` count from 0. */
function offsetOf(text: string, { line, column }: { line: number; column: number }): number {
  let at = 0;
  for (let left = line; left > 0; left--) at = text.indexOf('\n', at) + 1;
  return at + column;
}

/** `count` of `mutants`, in their order. */
export function sample(mutants: readonly SourceMutant[], count: number, seed: number): SourceMutant[] {
  const random = createRandom(seed);
  const weighted = mutants.map((mutant, index) => ({ mutant, index, weight: random() }));
  const chosen = weighted.toSorted((a, b) => a.weight - b.weight).slice(0, count);
  return chosen.toSorted((a, b) => a.index - b.index).map(({ mutant }) => mutant);
}
