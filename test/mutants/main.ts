// `npm run mutants -- --sample 60 --seed 1`: where the tests have holes that nobody has thought of. Beside the controls, which
// are chosen by hand, it changes random conditions, operators and branches (StrykerJS's mutators) in a copy of the work
// tree, one at a time, and runs the tests that import the file: the fast ones, and then, of what survives, those on real
// servers. Survivors are printed, each with its place: it becomes a test, or is equivalent. Exit code 0: they are no failure.

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { copyWorkTree, removeCopy, runTests } from '../controls/run-tests.ts';
import { listMutants, type SourceMutant, sample } from './list-mutants.ts';

const {
  sample: size,
  seed,
  fastOnly,
} = new Command('mutants')
  .option('--sample <count>', 'how many mutants', '60')
  .option('--seed <number>', 'the same seed gives the same mutants of the same code', '1')
  .option('--fast-only', 'run no tests on real servers')
  .parse()
  .opts<{ sample: string; seed: string; fastOnly?: boolean }>();
for (const text of [size, seed]) if (!/^[1-9]\d*$/.test(text)) throw new Error(`${text} is no positive number.`);

const interrupt = new AbortController();
for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, () => interrupt.abort(new Error('interrupted')));

const stages = [['fast', 'stand-ins'], ...(fastOnly === true ? [] : [['real']])];

/** @returns which tests kill it, undefined if none does */
async function findKiller(folder: string, mutant: SourceMutant): Promise<string | undefined> {
  const path = join(folder, mutant.file);
  const text = readFileSync(path, 'utf8');
  writeFileSync(path, text.slice(0, mutant.start) + mutant.replacement + text.slice(mutant.end));
  try {
    for (const projects of stages) {
      const related = { source: mutant.file, projects };
      const run = await runTests({ folder, files: [], related, bail: true, signal: interrupt.signal });
      const [killer] = run.failed;
      if (killer !== undefined) return `${projects[0]}: ${killer.name}`;
      if (run.broken.length > 0) return `${projects[0]}: ${run.broken.join('; ').slice(0, 200)}`;
    }
    return undefined;
  } finally {
    writeFileSync(path, text);
  }
}

const all = await listMutants();
const chosen = sample(all, Number(size), Number(seed));
console.log(`${all.length} mutants of ${new Set(all.map(({ file }) => file)).size} files; running ${chosen.length}`);
const folder = await copyWorkTree('mutants');
const survivors: SourceMutant[] = [];
try {
  for (const [index, mutant] of chosen.entries()) {
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
