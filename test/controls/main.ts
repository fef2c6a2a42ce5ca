// `npm run controls`: how we know that a green run means something. Each mutant breaks the program in a copy of the work
// tree, in which its test files must go red; the same files must be green without it. Exit code 1 when a mutant survives,
// no longer fits the code, keeps its tests from running at all, or when the baseline is not green.

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { type Mutant, mutants, mutate } from './mutants.ts';
import { copyWorkTree, removeCopy, runTests, type TestRun } from './run-tests.ts';

interface Outcome {
  readonly mutant: Mutant;
  readonly verdict: 'killed' | 'SURVIVED' | 'BROKEN' | 'STALE';
  readonly by: string;
  readonly seconds: number;
}

const interrupt = new AbortController();
for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, () => interrupt.abort(new Error('interrupted')));
const { signal } = interrupt;

async function withCopy<T>(label: string, use: (folder: string) => Promise<T>): Promise<T> {
  const folder = await copyWorkTree(label);
  try {
    return await use(folder);
  } finally {
    removeCopy(folder);
  }
}

interface Baseline {
  /** Red without any mutant: tests as `file: name`, whose failing proves nothing, and the files that they are in. */
  readonly red: ReadonlySet<string>;
  readonly redFiles: ReadonlySet<string>;
  /** What is wrong with it, in words; empty when all is green. */
  readonly problems: readonly string[];
}

/** All files that the mutants name, unbroken: once whole, and once by name where only some tests of a file are asked. */
async function runBaseline(chosen: readonly Mutant[]): Promise<Baseline> {
  return withCopy('baseline', async (folder) => {
    const whole = new Set(chosen.filter(({ testName }) => testName === undefined).flatMap(({ tests }) => tests));
    const named = chosen.filter(
      ({ testName, tests }) => testName !== undefined && !tests.every((file) => whole.has(file)),
    );
    const runs: { files: readonly string[]; testName?: string }[] = [];
    if (whole.size > 0) runs.push({ files: [...whole] });
    for (const [file, own] of Map.groupBy(named, ({ tests }) => tests.join())) {
      runs.push({ files: file.split(','), testName: own.map(({ testName }) => testName).join('|') });
    }
    const problems: string[] = [];
    const red: TestRun['failed'][number][] = [];
    for (const run of runs) {
      const result = await runTests({ folder, ...run, bail: false, signal });
      console.log(`baseline: ${run.files.join(', ')}: ${result.passed} passed in ${result.seconds.toFixed(0)} s`);
      red.push(...result.failed);
      problems.push(...result.failed.map(({ file, name, why }) => `${file}: ${name}: ${why}`), ...result.broken);
      if (result.passed === 0) problems.push(`${run.files.join(', ')}: no test was run`);
    }
    return { red: new Set(red.map(placeOf)), redFiles: new Set(red.map(({ file }) => file)), problems };
  });
}

const placeOf = ({ file, name }: TestRun['failed'][number]) => `${file}: ${name}`;

async function runMutant(mutant: Mutant, { red, redFiles }: Baseline): Promise<Outcome> {
  return withCopy(mutant.name, async (folder) => {
    const path = join(folder, mutant.file);
    let text: string;
    try {
      text = mutate(readFileSync(path, 'utf8'), mutant);
    } catch (error) {
      return { mutant, verdict: 'STALE', by: (error as Error).message, seconds: 0 };
    }
    writeFileSync(path, text);
    const { tests: files, testName } = mutant;
    const bail = !files.some((file) => redFiles.has(file));
    const run = await runTests({ folder, files, testName, bail, signal });
    return judge(mutant, { ...run, failed: run.failed.filter((test) => !red.has(placeOf(test))) });
  });
}

function judge(mutant: Mutant, { failed, broken, passed, seconds }: TestRun): Outcome {
  const [killer] = failed;
  if (killer !== undefined) return { mutant, verdict: 'killed', by: `${killer.name} (${killer.why})`, seconds };
  // With a file that can't be loaded nothing is proven: any typing error would do that.
  if (broken.length > 0) return { mutant, verdict: 'BROKEN', by: broken.join('; '), seconds };
  return { mutant, verdict: 'SURVIVED', by: `${passed} tests passed`, seconds };
}

function formatOutcome({ mutant, verdict, by, seconds }: Outcome): string {
  const { name, breaks, file, tests } = mutant;
  const head = `${verdict.padEnd(8)}  ${name.padEnd(38)} ${`${seconds.toFixed(0)} s`.padStart(6)}`;
  return [head, `          ${breaks}`, `          in ${file}, by ${tests.join(' and ')}`, `          ${by}`].join('\n');
}

function formatTable(outcomes: readonly Outcome[]): string {
  const shorten = (text: string, most: number) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);
  const rows = outcomes.map(({ mutant, verdict, by, seconds }) => {
    const tests = mutant.tests.map((file) => file.replace(/^test\//, '')).join(', ');
    const cells = [mutant.name, mutant.file, tests, `${verdict}: ${shorten(by, 110)}`, seconds.toFixed(0)];
    return `| ${cells.map((cell) => cell.replaceAll('|', '\\|').replaceAll('\n', ' ')).join(' | ')} |`;
  });
  return ['| mutant | changed file | test files | killed by | s |', '|---|---|---|---|---|', ...rows].join('\n');
}

async function main(): Promise<number> {
  const { only } = new Command('controls')
    .option('--only <names>', 'only these mutants, comma-separated')
    .parse()
    .opts<{ only?: string }>();
  const names = only?.split(',').map((name) => name.trim());
  const unknown = names?.filter((name) => !mutants.some((mutant) => mutant.name === name)) ?? [];
  if (unknown.length > 0) throw new Error(`--only: there is no mutant ${unknown.join(', ')}.`);
  const chosen = mutants.filter(({ name }) => names === undefined || names.includes(name));

  const baseline = await runBaseline(chosen);
  const { problems } = baseline;
  for (const problem of problems) console.log(`NOT GREEN without any mutant: ${problem}`);
  const outcomes: Outcome[] = [];
  for (const mutant of chosen) {
    const outcome = await runMutant(mutant, baseline);
    outcomes.push(outcome);
    console.log(formatOutcome(outcome));
  }
  const killed = outcomes.filter(({ verdict }) => verdict === 'killed').length;
  console.log(`\n${formatTable(outcomes)}\n\n${killed} of ${outcomes.length} mutants were killed.`);
  if (problems.length > 0) console.log('The baseline is not green; kills by its red tests were not counted.');
  return problems.length === 0 && killed === outcomes.length ? 0 : 1;
}

try {
  process.exitCode = await main();
} catch (error) {
  console.error((error as Error).message);
  process.exitCode = signal.aborted ? 130 : 1;
}
