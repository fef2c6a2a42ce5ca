// Class K: the captured tables are not what they were, or the readers may not see all of them any more. Of the first the
// readers must halt, whatever the moment, and publish nothing more; then the fault is also its repair, in the order that
// the halt names: tables back, what went elsewhere copied in, adopt, restart, replay from the tables, audit. Of the second
// they must warn and stream on, wait at a start, and go on by themselves when it is over.

import { HopelessError, waitFor } from '../../dev/process/wait-for.ts';
import { withTextClient } from '../support/oracle/facts.ts';
import { readTopic } from '../support/oracle/read-topic.ts';
import { runTool } from '../support/process/tool-process.ts';
import type { FaultContext } from './faults.ts';
import { haltsOf, type Member } from './member.ts';
import { pause, readerState } from './pause.ts';
import type { Fault } from './plan.ts';
import { runReplayTool } from './replay.ts';
import { ordersTopic, readerRole } from './stack.ts';
import { moveAway, putBack, type TableMove } from './table-moves.ts';

const haltCode = 'TABLES_CHANGED';
/** A fault before this one may have left a reader at its start; on a busy machine that takes long. */
const haltDeadlineMs = 60_000;
const stateDeadlineMs = 45_000;
const toolDeadlineMs = 60_000;
const readDeadlineMs = 30_000;
const auditWaitSeconds = '40';
/** How long nothing may come after a halt, with orders being placed. */
const silenceMs = 1_000;

export async function renameTables(context: FaultContext, fault: Fault): Promise<void> {
  const choose = choices(fault);
  const move: TableMove = { ...chooseMove(choose), inBetween: choose('nothing', 'tables', 'views') };
  context.note(`tables moved and back: ${describe(move)}`);
  const { readers, ordersUrl } = context.stack;
  for (const reader of readers) reader.justifyHalts(haltCode);
  await moveAway(ordersUrl, move);
  try {
    await pause(fault.lastsMs, context.signal);
  } finally {
    await putBack(ordersUrl, move);
  }
  await requireHalted(context);
  await requireSilence(context, silenceMs);
  await repair(context);
}

export async function swapTables(context: FaultContext, fault: Fault): Promise<void> {
  const choose = choices(fault);
  const move: TableMove = { ...chooseMove(choose), inBetween: 'tables' };
  const readersDown = choose('before', 'after');
  context.note(`tables swapped: ${describe(move)}, readers stopped ${readersDown} the tables are put back`);
  const { readers, ordersUrl } = context.stack;
  for (const reader of readers) reader.justifyHalts(haltCode);
  await moveAway(ordersUrl, move);
  try {
    await requireHalted(context);
    await requireSilence(context, fault.lastsMs);
    if (readersDown === 'before') await Promise.all(readers.map((reader) => reader.stop()));
  } finally {
    await putBack(ordersUrl, move);
  }
  if (readersDown === 'after') await requireSilence(context, silenceMs);
  await repair(context);
}

export async function addPolicy(context: FaultContext, fault: Fault): Promise<void> {
  const choose = choices(fault);
  const tables = chooseTables(choose);
  const hasPolicy = choose(true, false);
  await unseen(context, fault, choose, {
    code: 'ROW_LEVEL_SECURITY',
    begin: tables.flatMap((table) => [
      ...(hasPolicy ? [`CREATE POLICY torture ON public.${table} FOR SELECT USING (true)`] : []),
      `ALTER TABLE public.${table} ENABLE ROW LEVEL SECURITY`,
    ]),
    end: tables.flatMap((table) => [
      `ALTER TABLE public.${table} DISABLE ROW LEVEL SECURITY`,
      `DROP POLICY IF EXISTS torture ON public.${table}`,
    ]),
  });
}

export async function losePrivilege(context: FaultContext, fault: Fault): Promise<void> {
  const choose = choices(fault);
  const tables = chooseTables(choose).map((table) => `public.${table}`);
  await unseen(context, fault, choose, {
    code: 'NO_SELECT_PRIVILEGE',
    begin: [`REVOKE SELECT ON ${tables.join(', ')} FROM ${readerRole}`],
    end: [`GRANT SELECT ON ${tables.join(', ')} TO ${readerRole}`],
  });
}

type Choose = <T>(...values: readonly T[]) => T;

/** One choice after another, all from the fault's variant. */
function choices({ variant }: Fault): Choose {
  let rest = variant;
  return (...values) => {
    const scaled = rest * values.length;
    rest = scaled % 1;
    return values[Math.floor(scaled)]!;
  };
}

const chooseMove = (choose: Choose): Omit<TableMove, 'inBetween'> => ({
  inOneTransaction: choose(true, false),
  by: choose<TableMove['by']>('name', 'name', 'schema'),
  itemsFirst: choose(false, true),
  triggersOff: choose<TableMove['triggersOff']>('replica', 'disabled'),
});

const chooseTables = (choose: Choose): readonly string[] =>
  choose<readonly string[]>(['orders', 'order_items'], ['orders'], ['order_items']);

const describe = ({ by, inOneTransaction, itemsFirst, inBetween, triggersOff }: TableMove) =>
  [
    `by ${by}`,
    inOneTransaction ? 'in one transaction' : `one after another${itemsFirst ? ', items first' : ''}`,
    `${inBetween} in between${inBetween === 'tables' ? ` (copied with triggers off by ${triggersOff})` : ''}`,
  ].join(', ');

/** Every reader halts with {@link haltCode}: the one that streams, and the one that takes the slot after it. */
async function requireHalted({ stack, signal, note }: FaultContext): Promise<void> {
  const startMs = performance.now();
  await Promise.all(
    stack.readers.map((reader) =>
      waitFor(
        `${reader.name} to halt with ${haltCode}`,
        async () => {
          if (signal.aborted) throw new HopelessError(signal.reason);
          if (reader.service !== undefined && haltsOf(reader.service).length > 0) return true;
          throw new Error(`it is ${await readerState(reader)}`);
        },
        { deadlineMs: haltDeadlineMs, everyMs: 50 },
      ),
    ),
  );
  note(`both readers halted after ${Math.round(performance.now() - startMs)} ms`);
}

/** Nothing more is in the live topic after `ms`, although orders go on; nobody streams. */
async function requireSilence({ stack, signal }: FaultContext, ms: number): Promise<void> {
  const read = (from?: ReadonlyMap<number, bigint>) =>
    readTopic({
      brokers: stack.kafka.directBootstrap.split(','),
      topic: ordersTopic,
      deadlineMs: readDeadlineMs,
      ...(from === undefined ? {} : { from }),
    });
  const ends = new Map((await read()).map(({ partition, lastStable }) => [partition, lastStable]));
  await pause(ms, signal);
  const more = (await read(ends)).flatMap(({ partition, records }) =>
    records.filter(({ offset, outcome }) => outcome === 'committed' && offset >= ends.get(partition)!),
  );
  if (more.length > 0) throw new Error(`${more.length} records were published after the readers had halted`);
  const states = await Promise.all(stack.readers.map(readerState));
  if (states.some((state) => state !== 'halted' && state !== 'down')) {
    throw new Error(`after the halt the readers are ${states.join(' and ')}`);
  }
}

/** What the halt tells an operator to do once the tables are back. */
async function repair(context: FaultContext): Promise<void> {
  const { stack, signal } = context;
  await Promise.all(stack.readers.map((reader) => reader.stop()));
  await runCommand(context, 'adopt', ['reader', '--yes']);
  context.forgetPositions();
  for (const reader of stack.readers) reader.justifyHalts(undefined);
  await Promise.all(stack.readers.map((reader) => reader.start()));
  await waitFor(
    'a reader to stream after adopt',
    async () => {
      if (signal.aborted) throw new HopelessError(signal.reason);
      const states = await Promise.all(stack.readers.map(readerState));
      if (states.includes('streaming')) return true;
      throw new Error(`they are ${states.join(' and ')}`);
    },
    { deadlineMs: stateDeadlineMs, everyMs: 100 },
  );
  await runReplayTool(context, ['--source', 'tables', '--yes']);
  await context.noteGapsClosed();
  await runCommand(context, 'audit', ['--wait-seconds', auditWaitSeconds]);
}

async function runCommand({ stack, signal }: FaultContext, name: 'adopt' | 'audit', args: readonly string[]) {
  signal.throwIfAborted();
  const { code, stdout, stderr } = await runTool(name, args, stack.toolEnv, { killAfterMs: toolDeadlineMs });
  if (code !== 0) throw new Error(`${name} (${args.join(' ')}) ended with ${code}:\n${stdout}${stderr}`);
}

/** The readers' role does not see all rows for a while: who streams goes on and warns, who starts waits. */
async function unseen(
  context: FaultContext,
  { lastsMs }: Fault,
  choose: Choose,
  sql: { readonly code: string; readonly begin: readonly string[]; readonly end: readonly string[] },
): Promise<void> {
  const { stack, signal, note } = context;
  const whom = choose('nobody', 'the active reader', 'the standby');
  note(`${sql.begin.join('; ')}${whom === 'nobody' ? '' : `; ${whom} is killed meanwhile`}`);
  const run = async (statements: readonly string[]) => {
    for (const statement of statements) await withTextClient(stack.ordersUrl, (query) => query(statement));
  };
  const states = await Promise.all(stack.readers.map(readerState));
  const active = stack.readers[states.indexOf('streaming')];
  const warnedBefore = active === undefined ? 0 : warningsOf(active);
  const endMs = performance.now() + lastsMs;
  await run(sql.begin);
  try {
    // An earlier fault may have left no reader that streams, or one that does not for long.
    if (active !== undefined && whom !== 'the active reader') {
      await waitFor(
        `${active.name} to warn of what it may not see`,
        async () => {
          if (signal.aborted) throw new HopelessError(signal.reason);
          return warningsOf(active) > warnedBefore || (await readerState(active)) !== 'streaming';
        },
        { deadlineMs: stateDeadlineMs, everyMs: 100 },
      );
    }
    if (whom !== 'nobody') {
      const target =
        whom === 'the active reader' ? (active ?? stack.readers[0]!) : stack.readers.find((one) => one !== active)!;
      await pause(Math.max(0, endMs - performance.now()) / 2, signal);
      await target.kill();
      await target.start();
      await waitUntilItWaits(context, target, sql.code);
    }
    await pause(Math.max(0, endMs - performance.now()), signal);
  } finally {
    await run(sql.end);
  }
}

const warningsOf = ({ service }: Member) =>
  (service?.logs ?? []).filter(({ event, level }) => event === 'reader.visibility-changed' && level === 'warn').length;

async function waitUntilItWaits({ signal }: FaultContext, reader: Member, code: string): Promise<void> {
  await waitFor(
    `${reader.name} to wait because of ${code}`,
    async () => {
      if (signal.aborted) throw new HopelessError(signal.reason);
      const { state, problems } = (await reader.service!.ready()).body;
      if (state === 'halted' || state === 'streaming') throw new HopelessError(new Error(`${reader.name} is ${state}`));
      return (problems as { code: string }[] | undefined)?.some((one) => one.code === code);
    },
    { deadlineMs: stateDeadlineMs, everyMs: 100 },
  );
}
