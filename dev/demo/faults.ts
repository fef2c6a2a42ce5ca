// The faults of the demo: those of the torture (test/torture/plan.ts) that a stack of one process each survives without a hand.
// Guarantees: what a fault ends is started again by the stack; a fault returns when it has struck and, where it lasts, is over.
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import type { DatabaseServer } from '#service/postgres/database-server.ts';
import type { Stack } from '../start/stack.ts';

/** As in the torture; sessions-ended and carts-locked are those of its database faults that need no second server. */
export const demoFaults = [
  'reader-kill',
  'reader-pause',
  'sink-kill',
  'sink-pause',
  'api-kill',
  'broker-kill',
  'orders-kill',
  'carts-kill',
  'sessions-ended',
  'carts-locked',
] as const;
export type DemoFault = (typeof demoFaults)[number];

export interface FaultContext {
  readonly stack: Stack;
  readonly orders: DatabaseServer;
  readonly carts: DatabaseServer;
  readonly signal: AbortSignal;
}

const PAUSE_MS = 6_000;
/** Beyond the sink's lock_timeout, so that it gives up and tries again. */
const LOCK_MS = 4_000;

interface Fault {
  readonly announcement: string;
  /** False where it can't be done: there is no such server of the stack's own, or it does not run just now. */
  strike(context: FaultContext): Promise<boolean> | boolean;
}

const pidOf = ({ services, servers }: Stack, what: string): number | undefined => {
  const service = services.find(({ plan }) => plan.name === what);
  if (service !== undefined) return service.pid();
  try {
    return servers.find((server) => server.what === what)?.pid();
  } catch {
    return undefined; // it does not run
  }
};

const killed = (what: string): Fault => ({
  announcement: `kill -9 of ${what}`,
  strike: ({ stack }) => signalProcess(pidOf(stack, what), 'SIGKILL'),
});

const paused = (what: string): Fault => ({
  announcement: `${what} stands still for ${PAUSE_MS / 1_000} s (SIGSTOP)`,
  async strike({ stack, signal }) {
    const pid = pidOf(stack, what);
    if (!signalProcess(pid, 'SIGSTOP')) return false;
    await delay(PAUSE_MS, undefined, { signal }).catch(() => undefined); // resumed at the end, too
    return signalProcess(pid, 'SIGCONT');
  },
});

function signalProcess(pid: number | undefined, name: NodeJS.Signals): boolean {
  if (pid === undefined) return false;
  try {
    return process.kill(pid, name);
  } catch {
    return false; // it has ended
  }
}

async function onDatabase(server: DatabaseServer, work: (client: pg.Client) => Promise<void>): Promise<boolean> {
  const client = new pg.Client({
    ...server,
    application_name: 'demo-fault',
    connectionTimeoutMillis: 3_000,
  });
  client.on('error', () => undefined); // the statement in flight fails, too
  try {
    await client.connect();
    await work(client);
    return true;
  } catch {
    return false; // the server is away, by a fault before
  } finally {
    await client.end().catch(() => undefined);
  }
}

const faults: Readonly<Record<DemoFault, Fault>> = {
  'reader-kill': killed('cdc-reader'),
  'reader-pause': paused('cdc-reader'),
  'sink-kill': killed('cart-sink'),
  'sink-pause': paused('cart-sink'),
  'api-kill': killed('order-api'),
  'broker-kill': killed('Kafka'),
  'orders-kill': killed('Postgres for orders'),
  'carts-kill': killed('Postgres for carts'),
  'sessions-ended': {
    announcement: 'every session of both databases is ended by the server',
    async strike({ orders, carts }) {
      const end = (client: pg.Client) =>
        client
          .query(
            'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()',
          )
          .then(() => undefined);
      const done = [await onDatabase(orders, end), await onDatabase(carts, end)];
      return done.includes(true);
    },
  },
  'carts-locked': {
    announcement: `somebody locks the carts for ${LOCK_MS / 1_000} s`,
    strike: ({ carts, signal }) =>
      onDatabase(carts, async (client) => {
        await client.query('BEGIN; LOCK TABLE cart_lines IN ACCESS EXCLUSIVE MODE');
        await delay(LOCK_MS, undefined, { signal }).catch(() => undefined);
        await client.query('ROLLBACK');
      }),
  },
};

/** What a person is told before {@link strike}. */
export const announce = (fault: DemoFault): string => faults[fault].announcement;

/** False where it could not be done. */
export const strike = async (fault: DemoFault, context: FaultContext): Promise<boolean> =>
  faults[fault].strike(context);
