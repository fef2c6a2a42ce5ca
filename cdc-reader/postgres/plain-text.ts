// Statements as text without parameters, for where Postgres takes none: a walsender connection, PREPARE.
import type { SQLQuery } from '@databases/pg';
import pg from 'pg';

/** The statement with its values as literals in the text. */
export function plainText(statement: SQLQuery): string {
  return statement.format({
    escapeIdentifier: quoteIdentifier,
    formatValue: (value) => ({ placeholder: pg.escapeLiteral(String(value)), value: null }),
  }).text;
}

export function quoteIdentifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}
