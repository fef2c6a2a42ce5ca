// The servers of `npm start`: two Postgres and one Kafka as child processes, or those that the environment names. All
// that is its own is started at once and durable (fsync on, Kafka stopped before Postgres and given time to write its
// logs out); all that is given is asked once whether it answers, so that a wrong address is said at once and by name.

import { connect } from 'node:net';
import pg from 'pg';
import { unlessAborted } from '#service/deadline.ts';
import type { DatabaseServer } from '#service/postgres/database-server.ts';
import { isPortFree } from '../process/ports.ts';
import { createLocalKafka } from '../servers/local-kafka.ts';
import { createLocalPostgres, type LocalPostgres } from '../servers/local-postgres.ts';
import { keepRunning, type Restartable } from './keep-running.ts';
import type { StackConfig } from './stack-config.ts';
import { stackPaths } from './stack-folder.ts';

const answerDeadlineMs = 5_000;
/** Kafka writes out its logs when it stops; a start after that is quick and has lost nothing. */
const kafkaStopDeadlineMs = 30_000;

/** A port that `npm start` wants is taken; the message names every one, with the variable that moves it. */
class StackPortsTakenError extends Error {
  readonly code = 'stack_ports_taken';
}

/** A server that the environment names does not answer. */
class GivenServerError extends Error {
  readonly code = 'given_server';

  constructor(variable: string, cause: unknown) {
    const { code, message } = cause as { code?: string; message: string };
    super(
      `The server of ${variable} does not answer: ${message || code}. Start it or correct ${variable}; ` +
        `or unset it, and npm start runs a server of its own.`,
      { cause },
    );
    this.name = 'GivenServerError';
  }
}

/** @throws StackPortsTakenError */
export async function requireStackPorts({ wantedPorts }: StackConfig): Promise<void> {
  const free = await Promise.all(wantedPorts.map(({ port }) => isPortFree(port)));
  const taken = wantedPorts.filter((_, index) => !free[index]);
  if (taken.length === 0) return;
  const lines = taken.map(({ port, what, variable }) => `  ${port}, wanted for ${what} (another: ${variable}=…)`);
  const example = `${taken[0]!.variable}=${taken[0]!.port + 1000}`;
  throw new StackPortsTakenError(
    `These ports of 127.0.0.1 are taken by other programs:\n${lines.join('\n')}\n` +
      `Stop those programs (find them with: ss -ltnp, or lsof -i :${taken[0]!.port}) or choose other ports, for example: ` +
      `${example} npm start`,
  );
}

/**
 * Starts the stack's own servers, keeps them running, and checks that the given ones answer. Whatever it has started
 * is handed to `resources`, also when it throws. Returns its own.
 */
export async function startLocalServers(options: {
  config: StackConfig;
  resources: AsyncDisposableStack;
  /** Ends the wait for a download; servers that are starting finish that first. */
  signal: AbortSignal;
  say: (message: string) => void;
}): Promise<readonly Restartable[]> {
  const { config, resources, signal, say } = options;
  const { own, given, connections, home } = config;
  const paths = stackPaths(home);
  if (given.orderDatabase !== undefined) await requirePostgres('ORDER_DATABASE_URL', given.orderDatabase);
  if (given.cartDatabase !== undefined) await requirePostgres('CART_DATABASE_URL', given.cartDatabase);
  if (own.kafkaPort === undefined) await requireKafka(connections.KAFKA_BROKERS);

  // First of all what may be missing on the machine or take long: nothing runs yet that would have to be stopped.
  const kafka =
    own.kafkaPort === undefined
      ? undefined
      : await unlessAborted(
          createLocalKafka({ directory: paths.kafka, ports: [own.kafkaPort], onNotice: say }),
          signal,
        );
  const postgres = async (directory: string, port: number | undefined) =>
    port === undefined ? undefined : createLocalPostgres({ directory, port, onNotice: say });
  const orders = await postgres(paths.orderPostgres, own.orderPostgresPort);
  const carts = await postgres(paths.cartPostgres, own.cartPostgresPort);
  signal.throwIfAborted();

  resources.defer(async () => {
    await Promise.all([orders?.close(), carts?.close()]);
  });
  resources.defer(async () => kafka?.close({ deadlineMs: kafkaStopDeadlineMs }));
  const starts = await Promise.allSettled([
    kafka?.start(),
    orders?.start().then(() => ensureDatabase(orders, 'orders')),
    carts?.start().then(() => ensureDatabase(carts, 'carts')),
  ]);
  for (const result of starts) if (result.status === 'rejected') throw result.reason;
  signal.throwIfAborted();

  const servers: Restartable[] = [
    ...(kafka?.brokers ?? []).map((broker) => ({ what: 'Kafka', pid: broker.pid, start: () => broker.start() })),
    ...(orders === undefined ? [] : [{ what: 'Postgres for orders', pid: orders.pid, start: () => orders.start() }]),
    ...(carts === undefined ? [] : [{ what: 'Postgres for carts', pid: carts.pid, start: () => carts.start() }]),
  ];
  const watches = servers.map((server) => keepRunning(server, say));
  resources.defer(async () => {
    await Promise.all(watches.map((end) => end()));
  });
  return servers;
}

async function ensureDatabase(server: LocalPostgres, name: string): Promise<void> {
  const duplicateDatabase = '42P04';
  await server.createDatabase(name).catch((error: { code?: string }) => {
    if (error.code !== duplicateDatabase) throw error;
  });
}

async function requirePostgres(variable: string, server: DatabaseServer): Promise<void> {
  const client = new pg.Client({ ...server, connectionTimeoutMillis: answerDeadlineMs });
  try {
    await client.connect();
  } catch (cause) {
    throw new GivenServerError(variable, cause);
  } finally {
    await client.end();
  }
}

/** One broker that accepts a connection is enough: the clients find the others. */
async function requireKafka(brokers: string): Promise<void> {
  const attempts = brokers.split(',').map((broker) => {
    const [, host, port] = /^\[?(.*?)\]?:(\d+)$/.exec(broker.trim())!;
    return connectOnce(host!, Number(port));
  });
  await Promise.any(attempts).catch(({ errors }: AggregateError) => {
    throw new GivenServerError('KAFKA_BROKERS', errors[0]);
  });
}

function connectOnce(host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, timeout: answerDeadlineMs });
    socket.once('connect', () => {
      socket.destroy();
      resolve();
    });
    socket.once('timeout', () =>
      socket.destroy(new Error(`no connection to ${host}:${port} within ${answerDeadlineMs} ms`)),
    );
    socket.once('error', reject);
  });
}
