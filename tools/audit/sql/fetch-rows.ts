import { type SQLQuery, sql } from '@databases/pg';

/** The next rows of one of the audit's cursors; FETCH takes no parameters. */
export function fetchRows(cursor: 'orders' | 'items' | 'ledger' | 'removals', count: number): SQLQuery {
  if (!Number.isSafeInteger(count) || count < 1) throw new RangeError(`${count} is no number of rows to fetch.`);
  return sql`FETCH ${sql.__dangerous__rawValue(String(count))} FROM ${sql.ident(cursor)}`;
}
