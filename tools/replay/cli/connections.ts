// What a command of the tool is connected to: Kafka's log, the carts database, and one session of the orders database.
// Guarantees: all of it or nothing, and close() lets go of everything. Fencing is not among it: only publishing fences.

import { createKafkaLog, type KafkaLog } from '#kafka/reading/log.ts';
import { createDatabase, type Database } from '#service/database.ts';
import { createLogger, type Logger } from '#service/logger.ts';
import { createSourceSession, type SourceSession } from '../../../cdc-reader/postgres/source-session.ts';
import type { ReplayConfig } from '../../config.ts';
import { checkReplayTables } from '../sql/check-replay-tables.ts';
import { NotReadyError, PipelineMismatchError } from './errors.ts';

export interface Connections {
  readonly config: ReplayConfig;
  readonly logger: Logger;
  readonly log: KafkaLog;
  readonly carts: Database;
  readonly orders: SourceSession;
  close(): Promise<void>;
}

/** The lock, the survey's transaction, and two for everything else. */
const POOL_SIZE = 4;
const STATEMENT_TIMEOUT_MS = 60_000;
const LOCK_TIMEOUT_MS = 10_000;
/** The survey's transaction idles while the source is read. */
const IDLE_IN_TRANSACTION_TIMEOUT_MS = 600_000;
const CONNECT_TIMEOUT_MS = 5_000;

const UNDEFINED_TABLE = '42P01';
const UNDEFINED_COLUMN = '42703';

/** @throws NotReadyError naming the server that is away, PipelineMismatchError when the carts database lacks replay's tables */
export async function openConnections(config: ReplayConfig): Promise<Connections> {
  const logger = createLogger('replay', config.logLevel);
  const closing: (() => Promise<void>)[] = [];
  const close = async (): Promise<void> => {
    for (const closeOne of closing.splice(0).reverse()) await closeOne();
  };
  const open = async <T extends { close(): Promise<void> }>(what: string, opening: Promise<T> | T): Promise<T> => {
    try {
      const opened = await opening;
      closing.push(() => opened.close());
      return opened;
    } catch (cause) {
      throw new NotReadyError(`${what}: ${describe(cause)}`, { cause });
    }
  };
  try {
    const carts = await open(
      'carts database',
      createDatabase({
        url: config.cartDatabaseUrl,
        applicationName: config.applicationName,
        poolSize: POOL_SIZE,
        statementTimeoutMs: STATEMENT_TIMEOUT_MS,
        lockTimeoutMs: LOCK_TIMEOUT_MS,
        idleInTransactionTimeoutMs: IDLE_IN_TRANSACTION_TIMEOUT_MS,
        connectTimeoutMs: CONNECT_TIMEOUT_MS,
        acquireTimeoutMs: 2 * CONNECT_TIMEOUT_MS,
        logger,
      }),
    );
    await requireTables(carts);
    const session = { databaseUrl: config.orderDatabaseUrl, applicationName: config.applicationName, logger };
    const orders = await open('orders database', createSourceSession({ ...session, onEnd: () => undefined }));
    const client = { brokers: config.kafkaBrokers, clientId: config.applicationName, logger };
    const log = await open('Kafka', createKafkaLog(client));
    return { config, logger, log, carts, orders, close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function requireTables(carts: Database): Promise<void> {
  try {
    await carts.pool.query(checkReplayTables);
  } catch (cause) {
    const code = (cause as { code?: unknown }).code;
    if (code !== UNDEFINED_TABLE && code !== UNDEFINED_COLUMN) {
      throw new NotReadyError(`carts database: ${describe(cause)}`, { cause });
    }
    const remedy = 'run `npm run migrate`, or start a cart-sink of this version once';
    throw new PipelineMismatchError(`CART_DATABASE_URL: that database lacks the tables of replay: ${remedy}`);
  }
}

function describe(error: unknown): string {
  const { message, code } = error as Error & { code?: string };
  return message || code || String(error);
}
