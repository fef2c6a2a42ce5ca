// `npm run mutants -- --sample 60 --seed 1`: where the tests have holes that nobody has thought of. Beside the controls, which
// are chosen by hand, it changes random conditions, operators and branches (StrykerJS's mutators) in a copy of the work
// tree, one at a time, and runs the fast tests that import the file; then, of what survives, those that run its part in a
// process of its own. Survivors are printed, each with its place: it becomes a test, or is equivalent. Exit code 0: they are
// no failure.

import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { copyWorkTree, removeCopy, runTests, type TestRun } from '../controls/run-tests.ts';
import { listMutants, type SourceMutant, sample } from './list-mutants.ts';

const {
  sample: size,
  seed,
  fastOnly,
  only,
} = new Command('mutants')
  .option('--sample <count>', 'how many mutants', '60')
  .option('--seed <number>', 'the same seed gives the same mutants of the same code', '1')
  .option('--fast-only', 'run no tests on real servers')
  .option('--only <numbers>', 'of the sample, these alone: 3,17', '')
  .parse()
  .opts<{ sample: string; seed: string; fastOnly?: boolean; only: string }>();
for (const text of [size, seed]) if (!/^[1-9]\d*$/.test(text)) throw new Error(`${text} is no positive number.`);

const interrupt = new AbortController();
for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, () => interrupt.abort(new Error('interrupted')));

/** The tests that start a part as a process, or on real servers, which no import shows. The first prefix that fits counts. */
const processTests: readonly (readonly [prefix: string, tests: readonly string[]])[] = [
  ['cdc-reader/', ['test/integration/pipeline.test.ts', 'test/integration/cdc-reader', 'test/fault/reader']],
  ['cart-sink/', ['test/integration/pipeline.test.ts', 'test/integration/cart-sink', 'test/fault/sink/crash.test.ts']],
  ['order-api/', ['test/integration/order-api']],
  ['tools/adopt/', ['test/integration/tools/adopt.test.ts', 'test/integration/tools/tables-replaced.test.ts']],
  ['tools/audit/', ['test/integration/tools/audit.test.ts']],
  ['tools/parked/', ['test/integration/tools/parked.test.ts']],
  ['tools/replay/', ['replay.test.ts', 'replay-sources.test.ts'].map((name) => `test/integration/tools/${name}`)],
  ['tools/', ['test/integration/tools']],
  ['kafka/', ['test/integration/kafka', 'test/integration/pipeline.test.ts']],
  ['service/', ['test/integration/service', 'test/integration/pipeline.test.ts']],
  ['schemas/', ['test/integration/pipeline.test.ts', 'test/integration/tools/replay.test.ts']],
];

function testsOf(source: string): string[] {
  const own = `test/unit/${source.replace(/\.ts$/, '.test.ts')}`;
  const [, others] = processTests.find(([prefix]) => source.startsWith(prefix))!;
  return [...(existsSync(own) ? [own] : []), ...others];
}

/** @returns which tests kill it, undefined if none does */
async function findKiller(folder: string, mutant: SourceMutant): Promise<string | undefined> {
  const path = join(folder, mutant.file);
  const text = readFileSync(path, 'utf8');
  writeFileSync(path, text.slice(0, mutant.start) + mutant.replacement + text.slice(mutant.end));
  try {
    const common = { folder, bail: true, signal: interrupt.signal };
    const related = { source: mutant.file, projects: ['fast', 'stand-ins'] };
    const killer = killerOf(await runTests({ ...common, files: [], related }));
    if (killer !== undefined || fastOnly === true) return killer;
    return killerOf(await runTests({ ...common, files: [], folders: testsOf(mutant.file) }));
  } finally {
    writeFileSync(path, text);
  }
}

function killerOf({ failed: [killer], broken }: TestRun): string | undefined {
  if (killer !== undefined) return killer.name;
  return broken.length > 0 ? broken.join('; ').slice(0, 200) : undefined;
}

const all = await listMutants();
const chosen = sample(all, Number(size), Number(seed));
console.log(`${all.length} mutants of ${new Set(all.map(({ file }) => file)).size} files; running ${chosen.length}`);
const folder = await copyWorkTree('mutants');
const survivors: SourceMutant[] = [];
try {
  const numbers = only === '' ? undefined : only.split(',').map(Number);
  for (const [index, mutant] of chosen.entries()) {
    if (numbers?.includes(index + 1) === false) continue;
    const killer = await findKiller(folder, mutant);
    if (killer === undefined) survivors.push(mutant);
    const verdict = killer === undefined ? 'SURVIVED' : 'killed';
    const change = `${mutant.original.replaceAll(/\s+/g, ' ').slice(0, 60)} → ${mutant.replacement.slice(0, 60)}`;
    console.log(`${index + 1}/${chosen.length} ${verdict} ${mutant.file}:${mutant.line} ${change}`);
    if (killer !== undefined) console.log(`    by ${killer}`);
  }
} finally {
  removeCopy(folder);
}
console.log(`\n${chosen.length - survivors.length} of ${chosen.length} mutants were killed. Survivors:`);
for (const { file, line, mutator, original, replacement } of survivors) {
  console.log(`  ${file}:${line} (${mutator})\n    - ${original}\n    + ${replacement}`);
}
