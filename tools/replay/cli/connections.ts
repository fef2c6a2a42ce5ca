// What a replay command is connected to: Kafka's log, the carts database, and one session of the orders database. Guarantees:
// all of it or nothing, and close() closes everything. It holds no producer: creating one fences, which is a step of its own.
import { createKafkaLog, type KafkaLog } from '#kafka/reading/log.ts';
import type { Database } from '#service/database.ts';
import { createLogger, type Logger } from '#service/logger.ts';
import type { SourceSession } from '../../../cdc-reader/postgres/source-session.ts';
import type { ReplayConfig } from '../../config.ts';
import { openDatabase, openSourceSession } from '../../connect.ts';
import { describeError } from '../../run-tool.ts';
import { checkReplayTables } from '../sql/replay-runs.ts';
import { NotReadyError, PipelineMismatchError } from './errors.ts';

export interface Connections {
  readonly config: ReplayConfig;
  readonly logger: Logger;
  readonly log: KafkaLog;
  readonly carts: Database;
  readonly orders: SourceSession;
  close(): Promise<void>;
}

const CARTS_LIMITS = {
  poolSize: 4, // the lock, the survey's transaction, and two for everything else
  statementTimeoutMs: 60_000,
  lockTimeoutMs: 10_000,
  idleInTransactionTimeoutMs: 600_000, // the survey's transaction idles while the source is read
};

const UNDEFINED_TABLE = '42P01';
const UNDEFINED_COLUMN = '42703';

/** @throws NotReadyError naming the unavailable server, PipelineMismatchError if the carts database lacks replay's tables */
export async function openConnections(config: ReplayConfig): Promise<Connections> {
  const { applicationName, orderDatabase, cartDatabase, kafka } = config;
  const logger = createLogger('replay', config.logLevel);
  await using opened = new AsyncDisposableStack();
  const open = async <T extends { close(): Promise<void> }>(what: string, opening: Promise<T> | T): Promise<T> =>
    opened.adopt(await named(what, opening), (one) => one.close());

  const server = { postgres: cartDatabase, applicationName, logger };
  const carts = await open('carts database', openDatabase(server, CARTS_LIMITS));
  await requireTables(carts);
  const orders = await open('orders database', openSourceSession({ ...server, postgres: orderDatabase }));
  const log = await open('Kafka', createKafkaLog({ kafka, clientId: applicationName, logger }));
  const all = opened.move();
  return { config, logger, log, carts, orders, close: () => all.disposeAsync() };
}

async function named<T>(what: string, opening: Promise<T> | T): Promise<T> {
  try {
    return await opening;
  } catch (cause) {
    throw new NotReadyError(`${what}: ${describeError(cause)}`, { cause });
  }
}

async function requireTables(carts: Database): Promise<void> {
  try {
    await carts.pool.query(checkReplayTables);
  } catch (cause) {
    const code = (cause as { code?: unknown }).code;
    if (code !== UNDEFINED_TABLE && code !== UNDEFINED_COLUMN) {
      throw new NotReadyError(`carts database: ${describeError(cause)}`, { cause });
    }
    const remedy = 'run `npm run migrate`, or start a cart-sink of this version once';
    throw new PipelineMismatchError(`CART_DATABASE_URL: that database lacks the tables of replay: ${remedy}`);
  }
}
