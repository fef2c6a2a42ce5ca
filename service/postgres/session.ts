/**
 * What every session with a Postgres is set to before its first use, and the proof that it holds.
 *
 * Roles, databases and servers bring settings along that people made for other programs. Guarantees: a prepared session has
 * each setting that our statements, or the texts of our values, depend on, read back in one SELECT; a session whose
 * statements run on changing server connections (a pooler in transaction mode) is found, idle or not. Leaves to callers:
 * that the error is shown as a state to wait in, since nothing but an operator ends it.
 */
import pg from 'pg';
import { WaitingError } from '../failure.ts';
import type { DatabaseServer } from './database-server.ts';

/** Milliseconds; 0 is no limit. */
export interface SessionLimits {
  readonly statementTimeoutMs: number;
  readonly lockTimeoutMs: number;
  readonly idleInTransactionTimeoutMs: number;
}

export const NO_LIMITS: SessionLimits = { statementTimeoutMs: 0, lockTimeoutMs: 0, idleInTransactionTimeoutMs: 0 };

/** A setting that this server version does not have is passed over. Values as pg_settings shows them. */
const PINNED: Readonly<Record<string, string>> = {
  // Values have one text form.
  client_encoding: 'UTF8',
  DateStyle: 'ISO, MDY',
  IntervalStyle: 'postgres',
  TimeZone: 'UTC',
  bytea_output: 'hex',
  extra_float_digits: '1',
  // Texts and names mean one thing.
  standard_conforming_strings: 'on',
  quote_all_identifiers: 'off',
  array_nulls: 'on',
  transform_null_equals: 'off',
  // The tables are in public, whatever else is called like them; pg_catalog comes first by itself.
  search_path: 'public, pg_temp',
  // Statements count on seeing what they have waited for, and would fail with 40001 under a stricter isolation.
  default_transaction_isolation: 'read committed',
  default_transaction_read_only: 'off',
  default_transaction_deferrable: 'off',
  // A read that a policy would filter is an error, never a shorter answer; the rules of the tables hold.
  row_security: 'off',
  session_replication_role: 'origin',
  exit_on_error: 'off',
  // An idle moment ends nothing, and a transaction no more than its statements.
  idle_session_timeout: '0',
  transaction_timeout: '0', // since Postgres 17
};

export type SessionSettings = Readonly<Record<string, string>>;

/** The settings of a session with these limits; `more` comes on top. */
export function sessionSettings(limits: SessionLimits, more: SessionSettings = {}): SessionSettings {
  return {
    ...PINNED,
    statement_timeout: String(Math.trunc(limits.statementTimeoutMs)),
    lock_timeout: String(Math.trunc(limits.lockTimeoutMs)),
    idle_in_transaction_session_timeout: String(Math.trunc(limits.idleInTransactionTimeoutMs)),
    ...more,
  };
}

/** Something that only an operator changes: callers wait, and say so. */
abstract class UnfitSessionError extends WaitingError {
  abstract override readonly code: string;
  readonly problem: string;
  readonly remedy: string;

  constructor(problem: string, remedy: string, options?: ErrorOptions) {
    super(`${problem} ${remedy}`, options);
    this.name = new.target.name;
    this.problem = problem;
    this.remedy = remedy;
  }
}

/** A setting is not what the session has set. */
export class SessionSettingsError extends UnfitSessionError {
  readonly code = 'SESSION_SETTINGS';

  constructor(found: string, options?: ErrorOptions) {
    super(
      `The database session does not keep the settings that it needs: ${found}.`,
      'Find what sets it (ALTER ROLE … SET, ALTER DATABASE … SET, a login trigger, a pooler before Postgres) and remove it.',
      options,
    );
  }
}

/** The URL leads to a pooler that gives a client changing server connections, or that refuses what a client must ask. */
export class UnfitPoolerError extends UnfitSessionError {
  readonly code = 'POOLER_UNFIT';

  constructor(why: 'transaction-mode' | 'startup-parameter', options?: ErrorOptions) {
    super(
      why === 'transaction-mode'
        ? 'The database URL leads to a pooler in transaction mode (as PgBouncer with pool_mode=transaction): settings, ' +
            'locks and limits of a session do not hold there.'
        : 'The database URL leads to a pooler that refuses what this session asks for, as replication or a setting.',
      'Use a URL of Postgres itself, or of a pooler in session mode (pool_mode=session); cdc-reader needs Postgres itself.',
      options,
    );
  }
}

export function isUnfitSession(error: unknown): error is SessionSettingsError | UnfitPoolerError {
  return error instanceof UnfitSessionError;
}

/** What is used of a `pg` client. `processID` is what the server, or a pooler, has called the session's process. */
export interface SessionClient {
  readonly processID?: number | null;
  query(text: string): Promise<{ rows: Record<string, unknown>[] }>;
}

/** A role may not set one of them, or it does not take the value. */
const REFUSED = /^(42501|22023|42704|55P02)$/;
/** Unix sockets and some systems show 0 for them. */
const NOT_READ_BACK = /^tcp_/;

/**
 * Sets `settings` in the session of `client` and reads them back. With `connection`, a pooler is examined too.
 * @throws SessionSettingsError, UnfitPoolerError, or what Postgres or the network said
 */
export async function prepareSession(
  client: SessionClient,
  settings: SessionSettings,
  connection?: DatabaseServer,
): Promise<void> {
  try {
    await client.query(formatSet(settings));
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    throw REFUSED.test(code ?? '') ? new SessionSettingsError(message, { cause: error }) : error;
  }
  const { rows } = await client.query(formatRead(settings));
  const found = parseFound(rows[0]?.settings);
  const differences = Object.entries(settings)
    .filter(([name, value]) => !NOT_READ_BACK.test(name) && (found[name] ?? value) !== value)
    .map(([name, value]) => `${name} is '${found[name]}' instead of '${value}'`);
  const pid = Number(rows[0]?.pid);
  const isPooled = typeof client.processID === 'number' && client.processID !== pid;
  if (isPooled && (differences.length > 0 || (connection && (await sharesBackends(client, pid, connection))))) {
    throw new UnfitPoolerError('transaction-mode');
  }
  if (differences.length > 0) throw new SessionSettingsError(differences.join('; '));
}

/** What a connection attempt failed with, by its name where a pooler has refused it. */
export function explainConnectError(error: unknown): unknown {
  const message = error instanceof Error ? error.message : '';
  return /unsupported startup parameter/i.test(message)
    ? new UnfitPoolerError('startup-parameter', { cause: error })
    : error;
}

function formatSet(settings: SessionSettings): string {
  return (
    `SELECT set_config(pinned.name, pinned.value, false) FROM json_each_text(${literal(settings)}) AS pinned (name, value) ` +
    `WHERE current_setting(pinned.name, true) IS NOT NULL AND current_setting(pinned.name, true) <> pinned.value`
  );
}

function formatRead(settings: SessionSettings): string {
  return (
    `SELECT pg_backend_pid() AS pid, json_object_agg(known.name, known.setting)::text AS settings FROM pg_settings AS known ` +
    `WHERE known.name IN (SELECT json_object_keys(${literal(settings)}))`
  );
}

/** Without backslashes, a literal means the same whatever standard_conforming_strings is. */
function literal(settings: SessionSettings): string {
  return `'${JSON.stringify(settings).replaceAll("'", "''")}'::json`;
}

function parseFound(text: unknown): Readonly<Record<string, string>> {
  return typeof text === 'string' ? JSON.parse(text) : {};
}

const PROBE_LIMIT_MS = 3_000;

/**
 * A pooler that takes its server connections in turn shows another one within these; and where somebody else's transaction takes
 * the connection between two of our statements, the next round shows it.
 */
const ROUNDS = 5;

/**
 * Whether `client` moves to other server connections, or another client's transaction runs on the one that it has just used:
 * in session mode it keeps its own. A pooler that has none left for the other client is in session mode.
 */
async function sharesBackends(client: SessionClient, pid: number, connection: DatabaseServer): Promise<boolean> {
  const other = new pg.Client({
    ...connection,
    application_name: 'tillstream-pooler-probe',
    connectionTimeoutMillis: PROBE_LIMIT_MS,
    query_timeout: PROBE_LIMIT_MS,
  });
  other.on('error', () => undefined); // its query rejects
  try {
    await other.connect();
    for (let round = 0; round < ROUNDS; round += 1) {
      if ((await readPid(client)) !== pid) return true;
      await other.query('BEGIN');
      if ((await readPid(other)) === pid || (await readPid(client)) !== pid) return true;
      await other.query('ROLLBACK');
    }
    return false;
  } catch (error) {
    const { message } = error as Error;
    if (/statement pooling/i.test(message)) return true; // it refuses BEGIN
    if (/timeout/i.test(message)) return false;
    throw error;
  } finally {
    await other.end();
  }
}

async function readPid(client: Pick<SessionClient, 'query'>): Promise<number> {
  return Number((await client.query('SELECT pg_backend_pid() AS pid')).rows[0]?.pid);
}
