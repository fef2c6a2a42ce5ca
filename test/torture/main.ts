// `npm run torture`: breaks a whole pipeline of its own at random, by a printed seed, under load; then goes quiet, waits
// until everything is drained, and lets the oracle judge. Exit code 0 only when every invariant held, 1 otherwise, 130
// after Ctrl-C. A failure keeps the logs of everything in a folder that it names; nothing else stays.

import { randomInt } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command, InvalidArgumentError } from 'commander';
import { waitFor } from '../../dev/process/wait-for.ts';
import { createOrderLoad, fillCarts } from '../support/load/order-load.ts';
import { withTextClient } from '../support/oracle/facts.ts';
import { createOracle, type Oracle, type Verdict } from '../support/oracle/oracle.ts';
import { executeFault, type FaultContext } from './faults.ts';
import { type LoadCounts, runLoad } from './load.ts';
import { pause, readerState } from './pause.ts';
import { cartShape, type Fault, type FaultClass, faultClasses, planTorture, type TorturePlan } from './plan.ts';
import { createProgressSampler } from './progress.ts';
import { createRecoveryWatch } from './recovery.ts';
import { describeFault, formatProgress, judgeRun, type RunFacts } from './report.ts';
import { consumerGroup, slotName, startTortureStack, type TortureStack } from './stack.ts';

const progressEveryMs = 5_000;
const drainDeadlineMs = 180_000;
/** After a halt or a crash the rest will not drain; what there is gets judged. */
const brokenDrainDeadlineMs = 15_000;
/** Of the numbered orders, those whose goods are in the carts at first: the rest finds little or nothing there. */
const filledShare = 0.6;
/** What the schedule's generator tells apart. */
const seeds = 2 ** 32;
/** The whole plan is made beforehand: a week is some ten million steps. */
const longestMinutes = 10_080;

const lines: string[] = [];
const print = (line: string) => {
  lines.push(line);
  console.log(line);
};

/** Ends the run early: somebody pressed Ctrl-C, or a service did what no fault justifies. */
class Interrupted extends Error {}
class Broken extends Error {}

async function torture(
  plan: TorturePlan,
  stack: TortureStack,
  interrupt: AbortSignal,
): Promise<Omit<RunFacts, 'plan' | 'command'>> {
  const broken = new AbortController();
  const signal = AbortSignal.any([interrupt, broken.signal]);
  const startMs = performance.now();
  const elapsedMs = () => performance.now() - startMs;
  const load = await createOrderLoad({ ordersUrl: stack.ordersUrl, shape: cartShape });
  const oracle = createOracle({
    ...stack,
    brokers: stack.kafka.directBootstrap.split(','),
    slotName,
    consumerGroup,
  });
  await fillCarts({
    first: 0,
    count: Math.round(plan.orders * filledShare),
    cartsUrl: stack.cartsUrl,
    shape: cartShape,
  });
  await oracle.openCarts();

  const counts: LoadCounts = { steps: 0, failures: new Map(), additions: 0, edits: 0, unknown: 0 };
  const sampler = createProgressSampler(stack);
  const recovery = createRecoveryWatch(stack, signal);
  const troubles: string[] = [];
  const done: Fault[] = [];
  let current = 'quiet';
  const note = (line: string) => print(`          ${line}`);
  const members = [...stack.readers, ...stack.sinks];
  const watch = setInterval(() => {
    if (members.some((member) => member.troubles().length > 0)) broken.abort(new Broken('a service halted or crashed'));
  }, 500);
  const progress = setInterval(async () => {
    await sampler.look();
    if (current !== 'over')
      print(formatProgress({ ...counted(sampler), elapsedMs: elapsedMs(), faults: done.length, current }));
  }, progressEveryMs);

  const { positions, forgetPositions } = sampler;
  const { noteGapsClosed } = oracle;
  const context: FaultContext = { stack, load, signal, positions, forgetPositions, noteGapsClosed, note };
  const runFaults = async () => {
    for (const fault of plan.faults) {
      await pause(Math.max(0, fault.atMs - elapsedMs()), signal);
      if (elapsedMs() > plan.endMs) return;
      current = describeFault(fault);
      note(`→ ${current}`);
      const { company } = fault;
      const accompany = async (): Promise<void> => {
        if (company === undefined) return;
        await pause(company.atMs - fault.atMs, signal);
        await strike(company);
      };
      await Promise.all([strike(fault), accompany()]);
      current = 'quiet';
    }
  };
  const strike = async (fault: Fault): Promise<void> => {
    recovery.faultBegins();
    done.push(fault);
    await executeFault(context, fault).catch((error: Error) => {
      if (signal.aborted) throw error;
      troubles.push(`${describeFault(fault)} at ${Math.round(elapsedMs())} ms: ${error.message}`);
      broken.abort(new Broken('a fault could not be carried out'));
      throw error;
    });
    recovery.faultEnded(fault);
  };
  const both = await Promise.allSettled([
    runFaults(),
    runLoad({ stack, load, oracle, steps: plan.load, counts, signal }),
  ]);
  try {
    interrupt.throwIfAborted();
    for (const result of both) {
      if (result.status === 'rejected' && !broken.signal.aborted) throw result.reason;
    }
    current = 'draining';
    print(broken.signal.aborted ? `broken off: ${broken.signal.reason.message}` : 'quiet: everything runs, draining');
    await stack.restore();
    await recovery.settle();
    const notRecovered = [...recovery.failures, ...(await drain(stack, oracle, broken.signal.aborted, interrupt))];
    const seconds = elapsedMs() / 1_000;
    const verdict = await judge(oracle, troubles);
    troubles.push(...members.flatMap((member) => member.troubles()));
    const replays = await readReplays(stack);
    const { recoveries } = recovery;
    return { seconds, load: counts, faults: done, recoveries, notRecovered, troubles, replays, oracle: verdict };
  } finally {
    current = 'over';
    clearInterval(watch);
    clearInterval(progress);
    await load.close();
  }
}

const counted = ({ committed, published, applied }: { committed: number; published: number; applied: number }) => ({
  committed,
  published,
  applied,
});

/** Waits until all is applied and every service says that it is well; returns what did not come about. */
async function drain(stack: TortureStack, oracle: Oracle, broken: boolean, interrupt: AbortSignal): Promise<string[]> {
  const deadlineMs = broken ? brokenDrainDeadlineMs : drainDeadlineMs;
  const well = async () => {
    const states = (await Promise.all(stack.readers.map(readerState))).toSorted();
    if (states.join() !== 'standby,streaming') throw new Error(`the readers say ${states.join(' and ')}`);
    for (const { service } of stack.sinks) await service!.waitReady({ deadlineMs: 2_000 });
    return true;
  };
  const waits = [oracle.waitUntilDrained(deadlineMs), waitFor('every service to be well', well, { deadlineMs })];
  const interrupted = new Promise<never>((_, reject) => {
    interrupt.addEventListener('abort', () => reject(interrupt.reason), { once: true });
  });
  const results = await Promise.race([Promise.allSettled(waits), interrupted]);
  return results.flatMap((result) => (result.status === 'rejected' ? [(result.reason as Error).message] : []));
}

async function judge(oracle: Oracle, troubles: string[]): Promise<Verdict | undefined> {
  try {
    return await oracle.check();
  } catch (error) {
    troubles.push(`The oracle could not read the facts: ${(error as Error).message}`);
    return undefined;
  }
}

async function readReplays({ cartsUrl }: TortureStack): Promise<RunFacts['replays']> {
  return withTextClient(cartsUrl, async (query) => {
    const [there] = await query("SELECT to_regclass('replay_results') AS name");
    if (there!.name === null) return { runs: 0, records: 0, changed: 0 };
    const [row] = await query(`SELECT count(DISTINCT run_id) AS runs, coalesce(sum(changed), 0) AS changed,
      coalesce(sum(applied + already + changed), 0) AS records FROM replay_results`);
    return { runs: Number(row!.runs), records: Number(row!.records), changed: Number(row!.changed) };
  });
}

const countFaults = ({ faults }: TorturePlan) =>
  faults.reduce((sum, { company }) => sum + (company === undefined ? 1 : 2), 0);

function parseClasses(text: string): FaultClass[] {
  const named = text.split(',').map((name) => name.trim().toLowerCase());
  const unknown = named.filter((name) => !faultClasses.some((one) => one.toLowerCase() === name));
  if (unknown.length > 0) throw new InvalidArgumentError(`Fault classes are ${faultClasses.join(', ')}.`);
  return faultClasses.filter((one) => named.includes(one.toLowerCase()));
}

const parseNumber =
  (isAllowed: (value: number) => boolean, expected: string) =>
  (text: string): number => {
    const value = text.trim() === '' ? Number.NaN : Number(text);
    if (!isAllowed(value)) throw new InvalidArgumentError(`Expected ${expected}.`);
    return value;
  };
const parseMinutes = parseNumber((value) => value > 0 && value <= longestMinutes, `minutes, up to ${longestMinutes}`);
const parseSeed = parseNumber(
  (value) => Number.isInteger(value) && value >= 0 && value < seeds,
  `a whole number from 0 to ${seeds - 1}`,
);
const parseBrokers = parseNumber((value) => value === 1 || value === 3, '1 or 3');

async function main(): Promise<number> {
  const options = new Command('torture')
    .option('--minutes <number>', 'how long faults are injected', parseMinutes, 10)
    .option('--seed <number>', 'schedule of faults and load (default: a random one)', parseSeed, randomInt(seeds))
    .option('--only <classes>', `fault classes, comma-separated: ${faultClasses.join(', ')}`, parseClasses)
    .option('--brokers <number>', 'Kafka brokers, 1 or 3', parseBrokers, 3)
    .parse()
    .opts<{ minutes: number; seed: number; only?: FaultClass[]; brokers: 1 | 3 }>();
  const { minutes, seed, only, brokers } = options;
  const plan = planTorture(seed, minutes, only ?? faultClasses);
  const kept = only === undefined ? '' : ` --only ${only.join()}`;
  const command = `npm run torture -- --seed ${seed} --minutes ${minutes} --brokers ${brokers}${kept}`;
  print(
    `seed ${seed}, ${minutes} minutes, ${brokers} brokers: ${countFaults(plan)} faults, ${plan.orders} orders planned`,
  );
  const interrupt = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM'] as const) {
    process.on(name, () => interrupt.abort(new Interrupted('interrupted; stopping everything')));
  }
  let stack: TortureStack | undefined;
  try {
    stack = await startTortureStack(brokers, print);
    const facts = await torture(plan, stack, interrupt.signal);
    const { clean, text } = judgeRun({ ...facts, plan, command });
    print(text);
    if (!clean) keep(stack, seed);
    return clean ? 0 : 1;
  } catch (error) {
    print(error instanceof Interrupted ? error.message : `The run itself failed: ${(error as Error).stack}`);
    if (error instanceof Interrupted) return 130;
    print(`run again: ${command}`);
    if (stack !== undefined) keep(stack, seed);
    return 1;
  } finally {
    await stack?.close();
  }
}

function keep(stack: TortureStack, seed: number): void {
  const folder = stack.keepLogs(seed);
  writeFileSync(join(folder, 'run.log'), [...lines, ''].join('\n'));
  print(`logs are kept in ${folder}`);
}

process.exitCode = await main();
