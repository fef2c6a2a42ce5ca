// `npm run lost-writes -- [--kills N] [--seed N]`: kill -9 of a lone broker that loses a random part of what it had not flushed
// (live topic, checkpoints, transaction states, group offsets), again and again under orders. Exit code 0 only when after each
// kill reader and sink went on without loss or double, or halted or wait by name. A seed fixes kinds and moments of the damage; how
// many bytes are unflushed by then is the machine's.
import { randomInt } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Command, InvalidArgumentError } from 'commander';
import { createRandom } from '../../dev/process/seeded-random.ts';
import { createLocalKafka } from '../../dev/servers/local-kafka.ts';
import { createLocalPostgres } from '../../dev/servers/local-postgres.ts';
import { removePostgresData } from '../../dev/servers/postgres-data.ts';
import { createTestRoot, removeAbandonedTestRoots, testRootVariable } from '../support/process/test-directory.ts';
import { createPipelineStage } from '../support/stack/pipeline-stage.ts';
import { type Fleet, type Outcome, openFleet, runRound } from './round.ts';

const print = (line: string): void => void process.stdout.write(`${line}\n`);

/** Orders that the carts of one fleet are filled for: it lasts until a halt. */
const cartOrders = 20_000;
const mostRoundsOfFleet = 40;

const parseCount = (text: string): number => {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('Expected a whole number.');
  return Number(text);
};

function formatOutcome(kill: number, { kind, names, damage, cutBytes, isSinkLate, seconds, wrong }: Outcome): string {
  const lost = `${damage.how} of ${damage.kinds.join('+')}, ${cutBytes} bytes${isSinkLate ? ', sink late' : ''}`;
  const what = names.length === 0 ? kind : `${kind} ${names.join('+')}`;
  return `kill ${String(kill).padStart(3)}: ${what} after ${seconds.toFixed(1)} s (${lost})${wrong.map((one) => `\n  WRONG: ${one}`).join('')}`;
}

async function main(): Promise<number> {
  const { kills, seed } = new Command('lost-writes')
    .option('--kills <number>', 'how often the broker is killed', parseCount, 50)
    .option('--seed <number>', 'what is lost and when (default: a random one)', parseCount, randomInt(1_000_000))
    .parse()
    .opts<{ kills: number; seed: number }>();
  print(`seed ${seed}, ${kills} kills`);
  removeAbandonedTestRoots();
  const root = createTestRoot();
  process.env[testRootVariable] = root;
  const postgres = await createLocalPostgres({
    directory: join(root, 'postgres'),
    settings: { fsync: 'off', max_connections: '100', track_commit_timestamp: 'on' },
    onNotice: print,
  });
  const kafka = await createLocalKafka({
    directory: join(root, 'kafka'),
    settings: { 'transaction.abort.timed.out.transaction.cleanup.interval.ms': '1000' },
    onNotice: print,
  });
  let fleet: Fleet | undefined;
  try {
    await Promise.all([postgres.start(), kafka.start()]);
    const serverUrl = postgres.url('postgres');
    const servers = {
      orderServerUrl: serverUrl,
      cartServerUrl: serverUrl,
      brokers: kafka.bootstrap,
      directBrokers: kafka.directBootstrap,
    };
    const outcomes: Outcome[] = [];
    let rounds = 0;
    for (let kill = 1; kill <= kills; kill += 1) {
      if (fleet === undefined) {
        fleet = await openFleet(await createPipelineStage('lost_writes', { servers, carts: true }), cartOrders);
        rounds = 0;
      }
      const outcome = await runRound({ kafka, root }, fleet, createRandom(seed * 1_009 + kill));
      rounds += 1;
      outcomes.push(outcome);
      print(formatOutcome(kill, outcome));
      if (outcome.wrong.length > 0) printLogs(fleet);
      if (outcome.kind === 'went on' && outcome.wrong.length === 0 && rounds < mostRoundsOfFleet) continue;
      await fleet.stage.cleanUp();
      fleet = undefined;
    }
    return report(outcomes, seed);
  } finally {
    await fleet?.stage.environment.stopServices();
    await Promise.all([postgres.close(), kafka.kill()]);
    removePostgresData(join(root, 'postgres'));
    await rm(root, { recursive: true, force: true, maxRetries: 10 });
  }
}

const shownLines = 40;

function printLogs({ reader, sink }: Fleet): void {
  for (const { name, logs } of [reader, sink]) {
    const lines = logs.filter(({ level, event }) => level !== 'debug' && event !== 'kafka.client').slice(-shownLines);
    for (const line of lines) print(`  ${name}: ${JSON.stringify(line).slice(0, 600)}`);
  }
}

function report(outcomes: readonly Outcome[], seed: number): number {
  const byName = Map.groupBy(outcomes, ({ kind, names }) => [kind, ...names].join(' '));
  for (const [name, { length }] of byName) print(`${String(length).padStart(4)}  ${name}`);
  const wrong = outcomes.filter((outcome) => outcome.wrong.length > 0).length;
  if (wrong === 0) print(`${outcomes.length} kills: nothing lost, doubled or unnamed.`);
  else print(`${wrong} of ${outcomes.length} kills went WRONG; again: npm run lost-writes -- --seed ${seed}`);
  return wrong === 0 ? 0 : 1;
}

process.exitCode = await main();
