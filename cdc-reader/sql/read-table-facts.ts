import { type SQLQuery, sql } from '@databases/pg';

/** One row for each column of a table or view, with its type's full name; no row when there is nothing of that name. */
export function readTableFacts(schema: string, table: string): SQLQuery {
  return sql`
    SELECT attribute.attname AS name, format_type(attribute.atttypid, NULL) AS type
    FROM pg_class AS class
    JOIN pg_namespace AS namespace ON namespace.oid = class.relnamespace
    JOIN pg_attribute AS attribute ON attribute.attrelid = class.oid AND attribute.attnum > 0 AND NOT attribute.attisdropped
    WHERE namespace.nspname = ${schema} AND class.relname = ${table}
    ORDER BY attribute.attnum
  `;
}
