import { type SQLQuery, sql } from '@databases/pg';

/** One row for each of these tables that exists: `oid`, `schema`, `name` and `kind`, whatever they are called by now. */
export function readTableNames(oids: readonly number[]): SQLQuery {
  return sql`
    SELECT class.oid::bigint AS oid, namespace.nspname AS schema, class.relname AS name, class.relkind AS kind
    FROM pg_class AS class
    JOIN pg_namespace AS namespace ON namespace.oid = class.relnamespace
    WHERE class.oid = ANY(${oids.map(String)}::oid[])
  `;
}
