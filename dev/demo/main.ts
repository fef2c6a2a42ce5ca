// `npm run demo`: the stack of `npm start` with shoppers, and a fault every few seconds, each announced. Guarantees: at the end
// (Ctrl-C, or --seconds) everything that was ordered is waited for, and the audit has the last word: its exit code is the demo's.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { serverOf } from '#service/postgres/database-server.ts';
import { createRandom } from '../process/seeded-random.ts';
import { runInTerminal, type TerminalRun } from '../start/run-in-terminal.ts';
import { toolConnections } from '../start/service-environment.ts';
import { type Stack, startStack } from '../start/stack.ts';
import { readStackConfig, type StackConfig } from '../start/stack-config.ts';
import { type DemoArguments, parseDemoArguments } from './arguments.ts';
import { announce, strike } from './faults.ts';
import { type Shoppers, startShoppers } from './shoppers.ts';

const repository = join(import.meta.dirname, '..', '..');
const REPORT_MS = 5_000;
/** A terminal's Ctrl-C comes twice at once, from the terminal and from npm; later than this it is another one. */
const SAME_CTRL_C_MS = 1_000;
/** Services that a fault has ended are started again within seconds. */
const AUDIT_WAIT_SECONDS = 120;

const options = parseDemoArguments(process.argv.slice(2));
const ending = new AbortController();
let endedMs: number | undefined;

/** Ctrl-C ends the demo; a second one, later, stops at once. */
function endDemo(): boolean {
  const now = performance.now();
  endedMs ??= now;
  if (ending.signal.aborted && now - endedMs > SAME_CTRL_C_MS) return false;
  ending.abort();
  return true;
}

async function run({ signal, say }: TerminalRun): Promise<number> {
  const config = readStackConfig(process.env, repository);
  await using resources = new AsyncDisposableStack();
  const stack = await startStack({ config, resources, signal, say });
  const { rate, seconds, seed, everySeconds } = options;
  const until = seconds === undefined ? 'until Ctrl-C' : `for ${seconds} s`;
  say(`${rate} orders a second ${until}, with a fault every ${everySeconds} s (--seed ${seed}).\n`);
  const random = createRandom(seed ^ 0x5eed);
  const shoppers = startShoppers({ ...stack, rate, random, signal });
  const timer = seconds === undefined ? undefined : setTimeout(endDemo, seconds * 1_000);
  await Promise.all([runFaults(options, stack, config, say), reportProgress(shoppers, say)]);
  clearTimeout(timer);

  say('\nThe last shoppers finish; then reader and sink catch up, and the audit compares both databases.');
  await shoppers.leave();
  signal.throwIfAborted();
  say(`${shoppers.placed()} orders were placed.\n`);
  return await audit(config, signal);
}

async function runFaults(
  { seed, faults, everySeconds }: DemoArguments,
  stack: Stack,
  config: StackConfig,
  say: (message: string) => void,
): Promise<void> {
  const { signal } = ending;
  const random = createRandom(seed);
  const { given, connections } = config;
  const orders = given.orderDatabase ?? serverOf(connections.ORDER_DATABASE_URL!);
  const carts = given.cartDatabase ?? serverOf(connections.CART_DATABASE_URL!);
  while (!signal.aborted) {
    await delay(everySeconds * 1_000, undefined, { signal }).catch(() => undefined);
    if (signal.aborted || faults.length === 0) continue;
    const fault = faults[Math.floor(random() * faults.length)]!;
    say(`${time()}  FAULT ${fault}: ${announce(fault)}`);
    const hasStruck = await strike(fault, { stack, orders, carts, signal });
    if (!hasStruck) say(`${time()}  ${fault} could not be done: what it strikes is not the stack's own, or is down.`);
  }
}

async function reportProgress(shoppers: Shoppers, say: (message: string) => void): Promise<void> {
  const { signal } = ending;
  while (!signal.aborted) {
    await delay(REPORT_MS, undefined, { signal }).catch(() => undefined);
    say(`${time()}  ${shoppers.placed()} orders placed`);
  }
}

const time = (): string => new Date().toTimeString().slice(0, 8);

async function audit(config: StackConfig, signal: AbortSignal): Promise<number> {
  const child = spawn(
    process.execPath,
    [join(repository, 'tools', 'audit', 'main.ts'), '--wait-seconds', String(AUDIT_WAIT_SECONDS)],
    { cwd: repository, env: { ...process.env, ...toolConnections(config) }, stdio: ['ignore', 'inherit', 'inherit'] },
  );
  const kill = () => child.kill();
  signal.addEventListener('abort', kill);
  const [code] = (await once(child, 'exit')) as [number | null];
  signal.removeEventListener('abort', kill);
  signal.throwIfAborted();
  return code ?? 1;
}

await runInTerminal('npm run demo', run, endDemo);
