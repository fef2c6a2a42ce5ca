/**
 * A bounded pool of connections to one Postgres, for all ordinary SQL.
 *
 * Guarantees: nobody waits for a connection longer than `acquireTimeoutMs`, or for an answer longer than the statement
 * limit and some grace, whatever the network does; closing ends as surely; a client that stops holds no lock for longer
 * than the idle limit; every session has the settings of postgres/session.ts; bigint columns are bigints. Leaves to
 * callers: what to do when the database is away (service/database-away.ts tells), and that a COMMIT that failed so may
 * have happened.
 */
import type { ConnectionPool } from '@databases/pg';
import databases, { sql } from '@databases/pg';
import type { Logger } from './logger.ts';
import { type DatabaseConnection, parseDatabaseUrl } from './postgres/database-url.ts';
import {
  explainConnectError,
  prepareSession,
  type SessionClient,
  type SessionSettings,
  sessionSettings,
} from './postgres/session.ts';

export { isDatabaseAway } from './database-away.ts';

/** Logged when a pooled connection ends by itself. */
export const DATABASE_CONNECTION_LOST = 'database.connection-lost';

/** Logged when running work was cut off at the end of `close`. */
export const DATABASE_WORK_CUT_OFF = 'database.work-cut-off';

/**
 * What a stop allows running work. Before it, a server drains for 5 s, and the sink leaves its group within 4: together
 * they stay below the 9.5 s of a stop. A statement on a silent connection, and the ROLLBACK after it, last longer.
 */
const CLOSE_GRACE_MS = 3_000;

/** The server enforces the statement limit; only a dead network makes the client's own, longer one strike. */
const ANSWER_GRACE_MS = 2_000;

/** Idle this long, a connection is probed: firewalls forget silent ones, and a dead peer must be found. */
const KEEPALIVE_IDLE_MS = 5_000;

export interface DatabaseOptions {
  readonly url: string;
  readonly applicationName: string;
  readonly poolSize: number;
  /** 0 switches a limit off. These three are the server's session settings of the same name. */
  readonly statementTimeoutMs: number;
  readonly lockTimeoutMs: number;
  readonly idleInTransactionTimeoutMs: number;
  readonly connectTimeoutMs: number;
  /** The longest wait for a connection of the pool, opening one included. */
  readonly acquireTimeoutMs: number;
  readonly logger: Logger;
}

export interface Database {
  readonly pool: ConnectionPool;
  /** Resolves when the database answers. */
  ping(): Promise<void>;
  /**
   * Waits for running work, for three seconds at most, then ends all connections. A transaction cut off so was not
   * committed, or is one whose COMMIT got no answer.
   */
  close(): Promise<void>;
}

/** No connection could be had in time: the database can't be reached, or all connections are busy. */
export class AcquireTimeoutError extends Error {
  readonly code = 'DATABASE_ACQUIRE_TIMEOUT';
  override readonly name = 'AcquireTimeoutError';
}

export function createDatabase(options: DatabaseOptions): Database {
  const { logger } = options;
  const pool = databases.default({
    ...parseDatabaseUrl(options.url),
    applicationName: options.applicationName,
    poolSize: options.poolSize,
    bigIntMode: 'bigint',
    queryTimeoutMilliseconds: options.statementTimeoutMs === 0 ? 0 : options.statementTimeoutMs + ANSWER_GRACE_MS,
    connectionTimeoutMilliseconds: options.connectTimeoutMs,
    queueTimeoutMilliseconds: options.acquireTimeoutMs,
    keepAlive: true,
    keepAliveInitialDelayMilliseconds: KEEPALIVE_IDLE_MS,
    onError: (error) =>
      logger.warn({ event: DATABASE_CONNECTION_LOST, err: error }, 'a pooled database connection ended by itself'),
  });
  const open = governConnections(pool, options);
  return {
    pool,
    ping: async () => {
      await pool.query(sql`SELECT 1`);
    },
    close: async () => {
      const { promise: late, resolve } = Promise.withResolvers<void>();
      const timer = setTimeout(resolve, CLOSE_GRACE_MS);
      await Promise.race([pool.dispose(), late]);
      clearTimeout(timer);
      if (open.size === 0) return;
      logger.warn(
        { event: DATABASE_WORK_CUT_OFF, connections: open.size },
        `work on the database did not end within ${CLOSE_GRACE_MS} ms and was cut off`,
      );
      await Promise.all([...open].map((connection) => connection.dispose()));
    },
  };
}

/**
 * A client that stops while the server sends it an answer is not "idle in transaction", and its kernel keeps the connection
 * alive: only tcp_user_timeout ends that session and its locks. 0 leaves it to the system.
 */
function poolSettings(options: DatabaseOptions): SessionSettings {
  return sessionSettings(options, { tcp_user_timeout: String(options.idleInTransactionTimeoutMs) });
}

interface Connection {
  readonly client: SessionClient & { once(event: 'end', listener: () => void): unknown };
  /** Destroys its socket; whatever runs on it rejects. */
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
  connection: DatabaseConnection,
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
 * Puts a limit on the wait for a connection, and the settings on each before its first use. The library has no place
 * for either: it bounds the wait for a connection that is busy, not for one being opened, which it tries for two seconds
 * and more behind every caller's back. Returns the connections that are open, kept up to date.
 */
function governConnections(pool: ConnectionPool, options: DatabaseOptions): ReadonlySet<Connection> {
  const { acquireTimeoutMs } = options;
  const inner = (pool as unknown as PoolInternals)._pool;
  const getConnection = inner.getConnection.bind(inner);
  const settings = poolSettings(options);
  const open = new Set<Connection>();
  // Whether there is a pooler, and how it works, does not change from one connection to the next.
  let unexamined: DatabaseConnection | undefined = parseDatabaseUrl(options.url);

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
  inner.getConnection = () =>
    new Promise((resolve, reject) => {
      let late = false;
      const timer = setTimeout(() => {
        late = true;
        reject(new AcquireTimeoutError(`no database connection within ${acquireTimeoutMs} ms`));
      }, acquireTimeoutMs);
      getPrepared().then(
        (pooled) => {
          if (late) return pooled.release();
          clearTimeout(timer);
          resolve(pooled);
        },
        (error) => {
          clearTimeout(timer);
          reject(error);
        },
      );
    });
  return open;
}
