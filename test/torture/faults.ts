// What each kind of fault does to the stack. An executor returns when what it broke is whole again (processes started,
// servers accepting connections), so that recovery is counted from there. It throws when the fault could not be carried
// out, or when something did not come about that must under it: a fast shutdown that ends, a takeover in time. Times,
// targets and variants are the plan's.

import { waitFor } from '../../dev/process/wait-for.ts';
import type { LocalPostgres } from '../../dev/servers/local-postgres.ts';
import { openStrangersTransaction } from '../support/kafka/stranger.ts';
import type { OrderLoad } from '../support/load/order-load.ts';
import type { TcpProxy } from '../support/network/tcp-proxy.ts';
import { type TextQuery, withTextClient } from '../support/oracle/facts.ts';
import { addPolicy, losePrivilege, renameTables, swapTables } from './capture-faults.ts';
import { compressTopic, fillSpillDisk, presetSessions } from './environment-faults.ts';
import type { Member } from './member.ts';
import { pause, readerState } from './pause.ts';
import type { Fault, FaultKind } from './plan.ts';
import { runReplay } from './replay.ts';
import { ordersTopic, slotName, type TortureStack } from './stack.ts';

export interface FaultContext {
  readonly stack: TortureStack;
  readonly load: OrderLoad;
  readonly signal: AbortSignal;
  /** Earlier positions of the orders database, oldest first. */
  readonly positions: readonly string[];
  /** Replays begin no earlier than now from here on. */
  readonly forgetPositions: () => void;
  /** A replay has applied what lay in the gaps so far. */
  readonly noteGapsClosed: () => Promise<void>;
  readonly note: (line: string) => void;
}

/** Takeovers take wal_sender_timeout or a session, and the start of a successor on a busy machine. */
const takeoverDeadlineMs = 30_000;
/** Postgres waits for a reader that answers what it can't acknowledge for a second; the rest is its checkpoint. */
const shutdownDeadlineMs = 15_000;

const livePartitions = 6;
/** Those of the live topic, and as many of the replay topic. */
const assignedPartitions = 2 * livePartitions;

type Executor = (context: FaultContext, fault: Fault) => Promise<void>;

const killed =
  (choose: (context: FaultContext, fault: Fault) => Promise<Member> | Member): Executor =>
  async (context, fault) => {
    const member = await choose(context, fault);
    await member.kill();
    await pause(fault.lastsMs, context.signal);
    await member.start();
  };

const paused =
  (choose: (context: FaultContext, fault: Fault) => Promise<readonly Member[]> | readonly Member[]): Executor =>
  async (context, fault) => {
    const members = await choose(context, fault);
    for (const member of members) member.pause();
    await pause(fault.lastsMs, context.signal);
    for (const member of members) member.resume();
  };

const restarted =
  (server: (context: FaultContext) => LocalPostgres, mode: 'fast' | 'immediate' | 'kill' | 'either'): Executor =>
  async (context, { lastsMs, variant }) => {
    const postgres = server(context);
    if (mode === 'kill') await postgres.kill();
    else {
      const chosen = mode === 'either' ? (variant < 0.5 ? 'fast' : 'immediate') : mode;
      await postgres.stop(chosen, { deadlineMs: shutdownDeadlineMs });
    }
    await pause(lastsMs, context.signal);
    await postgres.start();
  };

/** Nothing passes, and no connection ends; then it goes on, or every connection is reset. */
const silenced =
  (proxyOf: (context: FaultContext) => TcpProxy): Executor =>
  async (context, { lastsMs, variant }) => {
    const proxy = proxyOf(context);
    proxy.pause();
    await pause(lastsMs, context.signal);
    if (variant < 0.5) proxy.cut();
    proxy.resume();
  };

const sinkOf = ({ stack }: FaultContext, { target }: Fault): Member => stack.sinks[target % stack.sinks.length]!;
const brokerOf = ({ stack }: FaultContext, { target }: Fault) =>
  stack.kafka.brokers[target % stack.kafka.brokers.length]!;

/** The reader that streams, or the one that stands by; of two starting ones, the one that the plan names. */
async function readerOf({ stack }: FaultContext, { target }: Pick<Fault, 'target'>): Promise<Member> {
  const states = await Promise.all(stack.readers.map(readerState));
  const wanted = target === 4 ? 'standby' : 'streaming';
  return stack.readers[states.indexOf(wanted)] ?? stack.readers[target % stack.readers.length]!;
}

const onOrders = <T>({ stack }: FaultContext, use: (query: TextQuery) => Promise<T>) =>
  withTextClient(stack.ordersUrl, use);

const executors: Record<FaultKind, Executor> = {
  'reader-kill': killed(readerOf),
  'reader-pause': paused(async (context, fault) => [await readerOf(context, fault)]),
  'sink-kill': killed(sinkOf),
  'sink-pause': paused((context, fault) => [sinkOf(context, fault)]),
  'sinks-paused': paused(({ stack }) => stack.sinks),

  async 'broker-kill'(context, fault) {
    const broker = brokerOf(context, fault);
    await broker.kill();
    await pause(fault.lastsMs, context.signal);
    await broker.start();
  },
  async 'brokers-rolling'({ stack, signal }, { lastsMs }) {
    for (const broker of stack.kafka.brokers) {
      await broker.stop();
      await broker.start();
      await pause(lastsMs, signal);
    }
  },
  async 'reader-partition'({ stack, signal }, { lastsMs, variant }) {
    const silent = variant < 0.5;
    for (const proxy of stack.kafkaProxies) {
      if (silent) proxy.pause();
      else {
        proxy.refuse();
        proxy.cut();
      }
    }
    await pause(lastsMs, signal);
    // A router that lost its connections for good: silence, then resets.
    if (variant < 0.25) for (const proxy of stack.kafkaProxies) proxy.cut();
    for (const proxy of stack.kafkaProxies) proxy.resume();
    await Promise.all(stack.kafkaProxies.map((proxy) => proxy.accept()));
  },
  async 'broker-hang'(context, fault) {
    const broker = brokerOf(context, fault);
    broker.pause();
    await pause(fault.lastsMs, context.signal);
    broker.resume();
  },

  // Somebody else's, in the live topic: aborted, or left to its timeout. Of the reader's own, one may be aborted meanwhile.
  async 'stranger-transaction'({ stack, signal }, { lastsMs, variant }) {
    const stranger = await openStrangersTransaction({
      brokers: stack.kafka.directBootstrap,
      topic: ordersTopic,
      partitions: livePartitions,
      name: 'stranger',
      timeoutMs: 10_000, // longer than it is held
    });
    try {
      await pause(lastsMs, signal);
      if (variant < 0.5) await stranger.abort();
    } finally {
      await stranger.leave();
    }
  },

  'orders-fast-restart': restarted(({ stack }) => stack.orders, 'fast'),
  'orders-immediate-restart': restarted(({ stack }) => stack.orders, 'immediate'),
  'orders-kill': restarted(({ stack }) => stack.orders, 'kill'),
  async 'walsender-terminated'(context) {
    await onOrders(context, (query) =>
      query(
        'SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = $1 AND active_pid IS NOT NULL',
        [slotName],
      ),
    );
  },
  // Its order commits (or not) long after orders with later row positions.
  async 'long-transaction'(context, { lastsMs, variant, orders }) {
    await onOrders(context, async (query) => {
      await query('BEGIN');
      await query('SELECT order_load.place($1)', [orders.first]);
      await pause(lastsMs, context.signal);
      await query(variant < 0.7 ? 'COMMIT' : 'ROLLBACK');
    });
  },

  'orders-silent': silenced(({ stack }) => stack.ordersProxy),

  'carts-restart': restarted(({ stack }) => stack.carts, 'either'),
  'carts-kill': restarted(({ stack }) => stack.carts, 'kill'),
  async 'carts-lock'({ stack, signal }, { lastsMs, variant }) {
    await withTextClient(stack.cartsUrl, async (query) => {
      await query('BEGIN');
      const tables = ['cart_lines', 'consumer_offsets', 'applied_orders'];
      await query(`LOCK TABLE ${tables[Math.floor(variant * tables.length)]} IN ACCESS EXCLUSIVE MODE`);
      await pause(lastsMs, signal);
      await query('ROLLBACK');
    });
  },
  async 'carts-terminated'({ stack }) {
    await withTextClient(stack.cartsUrl, (query) =>
      query(
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name LIKE 'tillstream-cart-%'`,
      ),
    );
  },
  async 'carts-latency'({ stack, signal }, { lastsMs, variant }) {
    stack.cartsProxy.delay(Math.round(20 + 230 * variant)); // each way
    await pause(lastsMs, signal);
    stack.cartsProxy.delay(0);
  },

  'carts-silent': silenced(({ stack }) => stack.cartsProxy),

  async 'readers-together'({ stack, signal }, { lastsMs }) {
    await Promise.all(stack.readers.map((reader) => reader.kill()));
    await pause(lastsMs, signal);
    await Promise.all(stack.readers.map((reader) => reader.start()));
  },
  async 'reader-zombie'(context, { lastsMs }) {
    const zombie = await readerOf(context, { target: 0 });
    const successor = context.stack.readers.find((reader) => reader !== zombie)!;
    zombie.pause();
    await waitFor(
      `${successor.name} to take over from a paused reader`,
      async () => {
        context.signal.throwIfAborted();
        return (await readerState(successor)) === 'streaming';
      },
      { deadlineMs: takeoverDeadlineMs, everyMs: 100 },
    );
    await pause(lastsMs, context.signal);
    zombie.resume();
  },
  async 'sink-zombie'(context, fault) {
    const { lastsMs } = fault;
    const { stack, signal } = context;
    const zombie = sinkOf(context, fault);
    const successor = stack.sinks.find((sink) => sink !== zombie)!;
    zombie.pause();
    await waitFor(
      `${successor.name} to take over from a paused sink`,
      async () => {
        signal.throwIfAborted();
        return (await ownedPartitions(successor)) === assignedPartitions;
      },
      { deadlineMs: takeoverDeadlineMs, everyMs: 100 },
    );
    await pause(lastsMs, signal);
    zombie.resume();
  },

  async burst({ load, note }, { lastsMs, orders }) {
    // Ten times the usual pace, and what can't be placed so fast as fast as it can.
    await load
      .pace({ ...orders, ordersPerSecond: (orders.count * 1_000) / lastsMs })
      .catch((error: Error) => note(`burst cut short: ${error.message}`));
  },
  async 'big-copy'({ load, note }, { orders }) {
    await load.copyTogether(orders).catch((error: Error) => note(`COPY failed: ${error.message}`));
  },

  'tables-renamed': renameTables,
  'tables-swapped': swapTables,
  'policy-added': addPolicy,
  'privilege-lost': losePrivilege,
  'topic-compressed': compressTopic,
  'sessions-preset': presetSessions,
  'spill-disk-full': fillSpillDisk,

  replay: (context, fault) => runReplay(context, fault),
  'replay-killed': (context, fault) => runReplay(context, fault),
};

/** Carries out one fault. @throws when it could not be, or when what must come about under it did not */
export function executeFault(context: FaultContext, fault: Fault): Promise<void> {
  return executors[fault.kind](context, fault);
}

async function ownedPartitions({ service }: Member): Promise<number> {
  const metrics = await service!.metrics();
  return metrics.get('tillstream_sink_assigned_partitions') ?? 0;
}
