// How a command connects to the two databases: a pool for ordinary SQL, or one session of the orders database as the reader
// uses it. Guarantees: nothing waits for a connection or a lock for ever; every session runs with row_security = off, so that
// a row hidden by a policy is an error. Which limits a command needs beside that is its own decision.
import { createDatabase, type Database, type DatabaseOptions } from '#service/database.ts';
import type { Logger } from '#service/logger.ts';
import type { DatabaseServer } from '#service/postgres/database-server.ts';
import { createSourceSession, type SourceSession } from '../cdc-reader/postgres/source-session.ts';

export interface ServerOptions {
  readonly postgres: DatabaseServer;
  readonly applicationName: string;
  readonly logger: Logger;
}

type Limits = Partial<Omit<DatabaseOptions, 'postgres' | 'applicationName' | 'logger'>>;

/** One connection that may read whole tables, unless `limits` says otherwise. */
export function openDatabase({ postgres, ...options }: ServerOptions, limits: Limits = {}): Database {
  return createDatabase({
    ...options,
    postgres,
    poolSize: 1,
    statementTimeoutMs: 0,
    lockTimeoutMs: 15_000, // longer than a sink's batch may hold its offset
    idleInTransactionTimeoutMs: 30_000,
    connectTimeoutMs: 5_000,
    acquireTimeoutMs: 10_000,
    ...limits,
  });
}

/** Its end is reported by its next use, which fails. */
export function openSourceSession({ postgres, applicationName }: ServerOptions): Promise<SourceSession> {
  return createSourceSession({ postgres, applicationName, onEnd: () => undefined });
}

/** Opens a session for one question, and closes it. */
export async function withSourceSession<T>(
  options: ServerOptions,
  ask: (session: SourceSession) => Promise<T>,
): Promise<T> {
  const session = await openSourceSession(options);
  try {
    return await ask(session);
  } finally {
    await session.close();
  }
}
