/**
 * Migrates a database to the schema that this version of a service needs.
 *
 * Guarantees: all missing migrations in one transaction, or none; processes that start together wait for each other
 * (an advisory lock); a failure names the file. Throws at once if the database can't be reached: callers decide whether
 * to retry. Files are `NNNN_name.sql`; text above `-- Up Migration` is a comment, text below `-- Down` is never run.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { runner } from 'node-pg-migrate';
import pg from 'pg';
import { WaitingError } from './failure.ts';
import type { Logger } from './logger.ts';
import type { DatabaseServer } from './postgres/database-server.ts';
import {
  explainConnectError,
  NO_LIMITS,
  prepareSession,
  type SessionClient,
  sessionSettings,
} from './postgres/session.ts';

const MIGRATIONS_TABLE = 'tillstream_migrations';

/** Logged for each file, after the commit. */
const MIGRATION_APPLIED = 'migration.applied';
/** Logged where a lock was not granted within a migration's own lock_timeout. */
const MIGRATION_WAITING = 'migration.waiting-for-lock';

const LOCK_NOT_AVAILABLE = '55P03';
/** While a migration waits for a lock, everybody else waits behind it: short waits, with pauses in which work goes on. */
const LOCK_PAUSE_MS = 1_000;
/** With a lock_timeout of 1 s, a minute; then the caller decides, which says so. */
const MOST_TRIES_FOR_LOCKS = 30;

interface MigrateOptions {
  readonly postgres: DatabaseServer;
  readonly directory: string;
  readonly logger: Logger;
}

const CONNECT_TIMEOUT_MS = 10_000;

/** A migration failed; the whole run was rolled back. */
export class MigrationFailedError extends WaitingError {
  readonly code = 'MIGRATION_FAILED';
  override readonly name = 'MigrationFailedError';
  readonly file: string;

  constructor(file: string, cause: unknown) {
    super(
      `Migration ${file} failed and was rolled back, nothing was changed: ${cause instanceof Error ? cause.message : String(cause)}`,
      {
        cause,
      },
    );
    this.file = file;
  }
}

/**
 * The role's search_path has led an earlier version to another schema. Creating the tables in public beside them would begin
 * again with an empty ledger, and take every order's goods twice.
 */
class TablesElsewhereError extends WaitingError {
  readonly code = 'TABLES_ELSEWHERE';
  override readonly name = 'TablesElsewhereError';

  constructor(schema: string) {
    super(
      `The tables of this service are in the schema ${schema}, but they belong in public, whatever the role's search_path ` +
        `says. Stop the services, move every table of theirs (ALTER TABLE ${schema}.… SET SCHEMA public), then start them`,
    );
  }
}

/** Asked before the session's search_path is set: where the role's own leads. */
async function requireTablesInPublic(client: pg.Client): Promise<void> {
  const { rows } = await client.query<{ schema: string }>(
    `SELECT pg_catalog.quote_ident(schema.nspname) AS schema FROM pg_catalog.pg_class AS found
     JOIN pg_catalog.pg_namespace AS schema ON schema.oid = found.relnamespace
     WHERE found.oid = pg_catalog.to_regclass($1) AND pg_catalog.to_regclass($2) IS NULL`,
    [MIGRATIONS_TABLE, `public.${MIGRATIONS_TABLE}`],
  );
  if (rows.length > 0) throw new TablesElsewhereError(rows[0]!.schema);
}

/**
 * Applies those `.sql` files of `directory` that are missing, in the order of their names.
 * @returns the names of the applied migrations, without `.sql`; empty if none was missing
 * @throws MigrationFailedError, or the connection's error
 */
export async function migrate(options: MigrateOptions): Promise<readonly string[]> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await migrateOnce(options);
    } catch (error) {
      const isLocked = (error as { cause?: { code?: unknown } }).cause?.code === LOCK_NOT_AVAILABLE;
      if (!isLocked || tries === MOST_TRIES_FOR_LOCKS) throw error;
      options.logger.warn(
        { event: MIGRATION_WAITING, tries, err: error },
        `Another transaction holds a lock that a migration needs; trying again in ${LOCK_PAUSE_MS} ms.`,
      );
      await delay(LOCK_PAUSE_MS);
    }
  }
}

async function migrateOnce(options: MigrateOptions): Promise<readonly string[]> {
  const { postgres, directory, logger } = options;
  const connection = postgres;
  const client = new pg.Client({
    ...connection,
    application_name: 'tillstream-migrate',
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    keepAlive: true,
  });
  // Without a listener, a broken connection would end the process; the running query rejects anyway.
  client.on('error', () => undefined);
  let current: string | undefined;
  try {
    await client.connect().catch((error) => {
      throw explainConnectError(error);
    });
    await requireTablesInPublic(client);
    await prepareSession(client as pg.Client & SessionClient, sessionSettings(NO_LIMITS), connection);
    const applied = await runner({
      dbClient: client,
      dir: directory,
      direction: 'up',
      migrationsTable: MIGRATIONS_TABLE,
      singleTransaction: true,
      advisoryLockMode: 'wait',
      logger: {
        // The only place where the library names the file that it runs next.
        info: (message) => {
          current = /^### MIGRATION (.+) \(UP\) ###$/.exec(message)?.[1] ?? current;
        },
        warn: (message) => logger.warn({ event: 'migration.warning' }, message),
        error: (message) => logger.debug({ event: 'migration.statement-failed' }, message),
      },
    });
    const names = applied.map(({ name }) => name);
    for (const name of names) logger.info({ event: MIGRATION_APPLIED, name }, `Applied migration ${name}.`);
    return names;
  } catch (error) {
    throw current === undefined ? error : new MigrationFailedError(`${current}.sql`, error);
  } finally {
    await client.end();
  }
}
