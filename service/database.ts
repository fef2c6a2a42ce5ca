/**
 * A bounded pool of connections to one Postgres, for all ordinary SQL.
 *
 * Guarantees: nobody waits for a connection longer than `acquireTimeoutMs`, or for an answer longer than the statement
 * limit and some grace, whatever the network does; bigint columns are bigints. Leaves to callers: what to do when the
 * database is away (service/database-away.ts tells), and that a COMMIT that failed so may have happened.
 */
import type { ConnectionPool } from '@databases/pg';
import databases, { sql } from '@databases/pg';
import type { Logger } from './logger.ts';

export { isDatabaseAway } from './database-away.ts';

/** Logged when a pooled connection ends by itself. */
export const DATABASE_CONNECTION_LOST = 'database.connection-lost';

/** The server enforces the statement limit; only a dead network makes the client's own, longer one strike. */
const ANSWER_GRACE_MS = 2_000;

/** Idle this long, a connection is probed: firewalls forget silent ones, and a dead peer must be found. */
const KEEPALIVE_IDLE_MS = 5_000;

export interface DatabaseOptions {
  readonly url: string;
  readonly applicationName: string;
  readonly poolSize: number;
  /** 0 switches a limit off. The next three are the server's session settings of the same name. */
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
  /** Waits for running work, then ends all connections. */
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
    connectionString: options.url,
    applicationName: options.applicationName,
    poolSize: options.poolSize,
    bigIntMode: 'bigint',
    statementTimeoutMilliseconds: options.statementTimeoutMs,
    queryTimeoutMilliseconds: options.statementTimeoutMs === 0 ? 0 : options.statementTimeoutMs + ANSWER_GRACE_MS,
    lockTimeoutMilliseconds: options.lockTimeoutMs,
    idleInTransactionSessionTimeoutMilliseconds: options.idleInTransactionTimeoutMs,
    connectionTimeoutMilliseconds: options.connectTimeoutMs,
    queueTimeoutMilliseconds: options.acquireTimeoutMs,
    keepAlive: true,
    keepAliveInitialDelayMilliseconds: KEEPALIVE_IDLE_MS,
    onError: (error) =>
      logger.warn({ event: DATABASE_CONNECTION_LOST, err: error }, 'a pooled database connection ended by itself'),
  });
  boundAcquire(pool, options.acquireTimeoutMs);
  return {
    pool,
    ping: async () => {
      await pool.query(sql`SELECT 1`);
    },
    close: () => pool.dispose(),
  };
}

interface PoolInternals {
  readonly _pool: { getConnection(): Promise<{ release(): void }> };
}

/**
 * The library bounds the wait for a connection that is busy, not the wait for one being opened: it tries for two
 * seconds and more behind every caller's back. There is no other place to put a limit that covers both.
 */
function boundAcquire(pool: ConnectionPool, acquireTimeoutMs: number): void {
  const inner = (pool as unknown as PoolInternals)._pool;
  const getConnection = inner.getConnection.bind(inner);
  inner.getConnection = () =>
    new Promise((resolve, reject) => {
      let late = false;
      const timer = setTimeout(() => {
        late = true;
        reject(new AcquireTimeoutError(`no database connection within ${acquireTimeoutMs} ms`));
      }, acquireTimeoutMs);
      getConnection().then(
        (connection) => {
          if (late) return connection.release();
          clearTimeout(timer);
          resolve(connection);
        },
        (error) => {
          clearTimeout(timer);
          reject(error);
        },
      );
    });
}
