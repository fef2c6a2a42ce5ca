import { type SQLQuery, sql } from '@databases/pg';

/**
 * One row (`oid`, `schema`, `name`, `kind`) for each table with all of these columns, but those of `known` oids. Temporary
 * tables and those of the system are passed over.
 */
export function readStandIns(columns: readonly string[], known: readonly number[]): SQLQuery {
  return sql`
    SELECT class.oid::bigint AS oid, namespace.nspname AS schema, class.relname AS name, class.relkind AS kind
    FROM pg_class AS class
    JOIN pg_namespace AS namespace ON namespace.oid = class.relnamespace
    WHERE class.relkind IN ('r', 'p') AND class.relpersistence <> 't'
      AND namespace.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
      AND class.oid <> ALL (${known.map(String)}::oid[])
      AND (
        SELECT count(*) FROM pg_attribute
        WHERE attrelid = class.oid AND NOT attisdropped AND attname = ANY(${[...columns]}::name[])
      ) = ${columns.length}
    ORDER BY 2, 3
  `;
}
