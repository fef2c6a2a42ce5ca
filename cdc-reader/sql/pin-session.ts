// The settings that every session of the reader makes its own: text forms, what a read may leave out, and time limits.
// Without them, a server, database or role would bring theirs along.
import { type SQLQuery, sql } from '@databases/pg';

const PINNED: Readonly<Record<string, string>> = {
  // Values have one text form: ISO dates in UTC, UTF-8.
  DateStyle: 'ISO, MDY',
  IntervalStyle: 'postgres',
  TimeZone: 'UTC',
  client_encoding: 'UTF8',
  bytea_output: 'hex',
  extra_float_digits: '1',
  standard_conforming_strings: 'on',
  quote_all_identifiers: 'off',
  search_path: 'pg_catalog',
  // A read that a policy would filter is an error, never a shorter answer.
  row_security: 'off',
  // A long read or an idle moment between two statements ends nothing; statement_timeout is the caller's.
  lock_timeout: '0',
  idle_in_transaction_session_timeout: '0',
  idle_session_timeout: '0',
  transaction_timeout: '0', // since Postgres 17
};

/**
 * Pins this session's settings. `statementTimeoutMs`: 0 is no limit. A setting that this server version does not have is
 * passed over. Gives one row a setting.
 */
export function pinSession(statementTimeoutMs: number): SQLQuery {
  const settings = { ...PINNED, statement_timeout: String(Math.trunc(statementTimeoutMs)) };
  return sql`
    SELECT set_config(pinned.name, pinned.value, false)
    FROM json_each_text(${JSON.stringify(settings)}::json) AS pinned (name, value)
    WHERE current_setting(pinned.name, true) IS NOT NULL
  `;
}
