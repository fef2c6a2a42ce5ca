// One connection to Postgres behind the library's pool, and never silently another one: an advisory lock would be gone, and
// a failover unnoticed. Guarantees: its end is reported once, however it comes; after that, and after close(), every query
// fails.
import { setTimeout as delay } from 'node:timers/promises';
import databases, { type ConnectionPool, type SQLQuery } from '@databases/pg';
import { preparePooledSession } from '#service/database.ts';
import { type DatabaseServer, poolOptions } from '#service/postgres/database-server.ts';
import type { SessionSettings } from '#service/postgres/session.ts';
import { END_LIMIT_MS } from './raw-replication.ts';

/** The session has ended: its database was shut down or restarted, the connection broke, or close() was called. */
class SessionEndedError extends Error {
  readonly code = 'SESSION_ENDED';

  constructor(options?: ErrorOptions) {
    super('The SQL session to the orders database has ended; open another one.', options);
    this.name = 'SessionEndedError';
  }
}

/** A statement of this session that takes longer has met something that a restart deals with better. */
export const STATEMENT_TIMEOUT_MS = 5_000;
const CONNECT_TIMEOUT_MS = 10_000;

export type Query = (statement: SQLQuery) => Promise<Record<string, unknown>[]>;

export interface SessionOptions {
  readonly postgres: DatabaseServer;
  readonly applicationName: string;
  /** Called once, as soon as the session ends in any way but close(). */
  readonly onEnd: (error: Error) => void;
}

/** A pool of one connection, which never becomes another one. */
export class SingleConnection {
  /** Before it is open, its end is only the error of a query. */
  isOpen = false;
  readonly #onEnd: (error: Error) => void;
  readonly #connection: DatabaseServer;
  readonly #pool: ConnectionPool;
  #end: { readonly cause: unknown } | undefined;
  #lastError: unknown;

  constructor({ postgres, applicationName, onEnd }: SessionOptions) {
    this.#onEnd = onEnd;
    this.#connection = postgres;
    this.#pool = databases.default({
      ...poolOptions(this.#connection),
      applicationName,
      bigIntMode: 'bigint',
      poolSize: 1,
      idleTimeoutMilliseconds: 0, // kept for ever: it is the session
      connectionTimeoutMilliseconds: CONNECT_TIMEOUT_MS,
      queryTimeoutMilliseconds: STATEMENT_TIMEOUT_MS + 1_000,
      keepAlive: true,
      keepAliveInitialDelayMilliseconds: 10_000,
      // While idle, an error is the end; after a failed statement the pool only reports that it dropped the connection.
      onError: (error) => this.#finish(error),
      onConnectionClosed: () => this.#finish(this.#lastError),
    });
  }

  #finish(cause: unknown): void {
    if (this.#end !== undefined) return;
    this.#end = { cause };
    if (this.isOpen) this.#onEnd(cause instanceof Error ? cause : new SessionEndedError({ cause }));
  }

  readonly query: Query = async (statement) => {
    if (this.#end !== undefined) throw new SessionEndedError({ cause: this.#end.cause });
    try {
      return await this.#pool.query(statement);
    } catch (error) {
      this.#lastError = error;
      throw error;
    }
  };

  /** Sets what its statements depend on, and reads it back. @throws as prepareSession */
  prepare(settings: SessionSettings): Promise<void> {
    return preparePooledSession(this.#pool, settings, this.#connection);
  }

  dispose(): Promise<void> {
    return this.#pool.dispose();
  }

  async close(): Promise<void> {
    this.#end ??= { cause: 'close() was called' };
    // With a statement under way the pool waits for its time limit, and then for the end of the connection; a server
    // that is silent does not hear of either.
    const limit = new AbortController();
    const late = delay(END_LIMIT_MS, undefined, { signal: limit.signal }).catch(() => undefined); // ended in time
    await Promise.race([this.dispose(), late]);
    limit.abort();
  }
}
