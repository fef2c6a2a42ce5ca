/**
 * A bounded pool of connections to one Postgres, for all ordinary SQL.
 *
 * Guarantees, whatever the network does: a wait for a connection ends after `acquireTimeoutMs`, a wait for a result after
 * the statement timeout and a grace, `close` after a few seconds; a client that stops holds no lock for longer than the
 * idle limit; every session has the settings of postgres/session.ts; bigint columns are bigints. Leaves to callers: what to
 * do while the database is unavailable (failure.ts classifies errors), and that a COMMIT which failed so may have happened.
 */
import type { ConnectionPool } from '@databases/pg';
import databases, { type SQLQuery, sql } from '@databases/pg';
import { resolvesWithin, withDeadline } from './deadline.ts';
import { markNothingSent } from './http/lost-answer.ts';
import type { Logger } from './logger.ts';
import { type DatabaseServer, poolOptions } from './postgres/database-server.ts';
import {
  type FailedTransaction,
  formatPrepared,
  isStalePlan,
  type PipelineClient,
  runPipelined,
  type Statements,
} from './postgres/pipelined-transaction.ts';
import { countLoans, type PoolLoad } from './postgres/pool-load.ts';
import {
  explainConnectError,
  prepareSession,
  type SessionClient,
  type SessionSettings,
  sessionSettings,
} from './postgres/session.ts';

export { isDatabaseAway } from './failure.ts';

/** Logged when a pooled connection was closed by the server or the network. */
const DATABASE_CONNECTION_LOST = 'database.connection-lost';

/** Logged when `close` cut connections that still ran a statement. */
const DATABASE_WORK_CUT_OFF = 'database.work-cut-off';

/**
 * How long `close` waits for running work. Before it, a server drains for 5 s, and the sink leaves its group within 4 s:
 * together they stay below the 9.5 s of a stop. A statement on a silent connection, and the ROLLBACK after it, take longer.
 */
const CLOSE_GRACE_MS = 3_000;

/** The server enforces the statement timeout; the client's own, longer one only ends waits on a dead network. */
const RESULT_GRACE_MS = 2_000;

/** A connection that is idle this long is probed: firewalls drop idle ones, and a dead peer must be detected. */
const KEEPALIVE_IDLE_MS = 5_000;

export interface DatabaseOptions {
  readonly postgres: DatabaseServer;
  readonly applicationName: string;
  readonly poolSize: number;
  /** This and the next two are the server's session settings of the same name; 0 disables one. */
  readonly statementTimeoutMs: number;
  readonly lockTimeoutMs: number;
  readonly idleInTransactionTimeoutMs: number;
  readonly connectTimeoutMs: number;
  /** The longest wait for a connection of the pool, opening one included. */
  readonly acquireTimeoutMs: number;
  readonly logger: Logger;
}

export interface Database extends PoolLoad {
  readonly pool: ConnectionPool;
  /**
   * A transaction under READ COMMITTED on a connection of its own, whose statements may be sent without waiting for one
   * another. `work` may run twice: once more where DDL has made prepared statements stale.
   * @throws CommitUnansweredError: it may have committed; after every other error it has not
   */
  transaction<T>(work: (tx: Statements) => Promise<T>): Promise<T>;
  /**
   * Rows of one statement, a transaction of its own, which each connection parses and plans once. Its text must not depend on
   * its values: what is prepared stays prepared.
   */
  prepared(statement: SQLQuery): Promise<object[]>;
  /** Resolves if the database responds. */
  ping(): Promise<void>;
  /**
   * Waits for running work, for three seconds at most, then ends all connections. A transaction that is cut off was not
   * committed, or its COMMIT got no response.
   */
  close(): Promise<void>;
}

/** No connection within the time limit: the database can't be reached, or all connections are busy. */
class AcquireTimeoutError extends Error {
  readonly code = 'DATABASE_ACQUIRE_TIMEOUT';
  override readonly name = 'AcquireTimeoutError';
}

export function createDatabase(options: DatabaseOptions): Database {
  const { logger } = options;
  const pool = databases.default({
    ...poolOptions(options.postgres),
    applicationName: options.applicationName,
    poolSize: options.poolSize,
    bigIntMode: 'bigint',
    queryTimeoutMilliseconds: options.statementTimeoutMs === 0 ? 0 : options.statementTimeoutMs + RESULT_GRACE_MS,
    connectionTimeoutMilliseconds: options.connectTimeoutMs,
    queueTimeoutMilliseconds: options.acquireTimeoutMs,
    keepAlive: true,
    keepAliveInitialDelayMilliseconds: KEEPALIVE_IDLE_MS,
    onError: (error) =>
      logger.warn(
        { event: DATABASE_CONNECTION_LOST, err: error },
        'A pooled database connection was closed by the server or the network.',
      ),
  });
  const loans = countLoans();
  const open = governConnections(pool, options, loans);
  return {
    pool,
    load: () => ({ open: open.size, inUse: loans.inUse(), waiting: loans.waiting() }),
    transaction: (work) => usePrepared(pool, (client) => runPipelined(client, work)),
    prepared: (statement) =>
      usePrepared(pool, async (client) => {
        try {
          return (await client.query(formatPrepared(statement))).rows;
        } catch (error) {
          const isAnswered = (error as { severity?: unknown }).severity === 'ERROR';
          throw { error, isReusable: isAnswered && !isStalePlan(error) } satisfies FailedTransaction;
        }
      }),
    ping: async () => {
      await pool.query(sql`SELECT 1`);
    },
    close: async () => {
      await resolvesWithin(pool.dispose(), CLOSE_GRACE_MS);
      if (open.size === 0) return;
      logger.warn(
        { event: DATABASE_WORK_CUT_OFF, connections: open.size },
        `Statements still ran ${CLOSE_GRACE_MS} ms after the stop; their database connections were cut.`,
      );
      await Promise.all([...open].map((connection) => connection.dispose()));
    },
  };
}

/** Runs `use` on a connection of its own; once more on another where DDL has made what it has prepared stale. */
async function usePrepared<T>(pool: ConnectionPool, use: (client: PipelineClient) => Promise<T>): Promise<T> {
  for (let isRepeated = false; ; isRepeated = true) {
    const pooled = await (pool as unknown as PoolInternals)._pool.getConnection();
    try {
      const result = await use(pooled.connection.client);
      pooled.release();
      return result;
    } catch (failed) {
      const { error, isReusable } = failed as FailedTransaction;
      if (isReusable) pooled.release();
      else pooled.dispose();
      if (isRepeated || !isStalePlan(error)) throw error;
    }
  }
}

/**
 * A client that stops while the server sends it a result is not "idle in transaction", and its kernel keeps the connection
 * alive: only tcp_user_timeout ends that session and its locks (0: the system's default).
 */
function poolSettings(options: DatabaseOptions): SessionSettings {
  return sessionSettings(options, { tcp_user_timeout: String(options.idleInTransactionTimeoutMs) });
}

interface Connection {
  readonly client: SessionClient & PipelineClient & { once(event: 'end', listener: () => void): unknown };
  /** Destroys the socket; the running statement rejects. */
  dispose(): Promise<void>;
}

interface PooledConnection {
  readonly connection: Connection;
  release(): void;
  dispose(): void;
}

interface PoolInternals {
  readonly _pool: { getConnection(): Promise<PooledConnection> };
}

/** Prepares the session of a pool that has one connection, kept for ever. @throws as prepareSession */
export async function preparePooledSession(
  pool: ConnectionPool,
  settings: SessionSettings,
  connection: DatabaseServer,
): Promise<void> {
  const pooled = await (pool as unknown as PoolInternals)._pool.getConnection().catch((error) => {
    throw explainConnectError(error);
  });
  try {
    await prepareSession(pooled.connection.client, settings, connection);
  } finally {
    pooled.release();
  }
}

/**
 * Limits the wait for a connection, and applies the settings to each before its first use. The library offers neither: it
 * bounds the wait for a busy connection, but not for one being opened, which it retries internally for two seconds and
 * more. Returns the live set of open connections.
 */
function governConnections(
  pool: ConnectionPool,
  options: DatabaseOptions,
  { lend }: ReturnType<typeof countLoans>,
): ReadonlySet<Connection> {
  const { acquireTimeoutMs } = options;
  const inner = (pool as unknown as PoolInternals)._pool;
  const getConnection = inner.getConnection.bind(inner);
  const settings = poolSettings(options);
  const open = new Set<Connection>();
  // Whether there is a pooler, and how it works, does not change from one connection to the next.
  let unexamined: DatabaseServer | undefined = options.postgres;

  const getPrepared = async (): Promise<PooledConnection> => {
    const pooled = await getConnection().catch((error) => {
      throw explainConnectError(error);
    });
    const { connection } = pooled;
    if (open.has(connection)) return pooled;
    open.add(connection);
    connection.client.once('end', () => open.delete(connection));
    try {
      await prepareSession(connection.client, settings, unexamined);
      unexamined = undefined;
    } catch (error) {
      pooled.dispose();
      throw error;
    }
    return pooled;
  };
  inner.getConnection = async () => {
    const prepared = getPrepared();
    const late = () => new AcquireTimeoutError(`no database connection within ${acquireTimeoutMs} ms`);
    try {
      return await lend(withDeadline(prepared, acquireTimeoutMs, late));
    } catch (error) {
      // A connection that comes later goes back to the pool; the error of one that fails later is of no use to anyone.
      if (error instanceof AcquireTimeoutError) prepared.then((pooled) => pooled.release()).catch(() => undefined);
      throw markNothingSent(error);
    }
  };
  return open;
}
