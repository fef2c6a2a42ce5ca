import { type SQLQuery, sql } from '@databases/pg';

/** One row for each column of a table, with its type's full name; no row when there is no such table. */
export function readTableFacts(schema: string, table: string): SQLQuery {
  return sql`
    SELECT has_table_privilege(class.oid, 'SELECT') AS may_select,
      attribute.attname AS name,
      format_type(attribute.atttypid, NULL) AS type
    FROM pg_class AS class
    JOIN pg_namespace AS namespace ON namespace.oid = class.relnamespace
    JOIN pg_attribute AS attribute ON attribute.attrelid = class.oid AND attribute.attnum > 0 AND NOT attribute.attisdropped
    WHERE namespace.nspname = ${schema} AND class.relname = ${table} AND class.relkind IN ('r', 'p')
    ORDER BY attribute.attnum
  `;
}
