// Statements on the two order tables, under the contract's names or whatever the captured tables are called now. The cursors
// are read with fetchRows and end with their transaction.
import { type SQLQuery, sql } from '@databases/pg';

/** Every order of the snapshot by id. */
export const openOrdersCursor = sql`
  DECLARE orders NO SCROLL CURSOR FOR SELECT order_id, user_id, source FROM public.orders ORDER BY order_id
`;

/** Every order item of the snapshot by order and line. */
export const openItemsCursor = sql`
  DECLARE items NO SCROLL CURSOR FOR
    SELECT order_id, line_no, sku, quantity FROM public.order_items ORDER BY order_id, line_no
`;

/** The order ids of a table, each once and sorted. */
export const openOldOrdersCursor = (schema: string, table: string): SQLQuery => sql`
  DECLARE old_orders NO SCROLL CURSOR FOR
    SELECT DISTINCT order_id::text AS order_id FROM ${sql.ident(schema, table)} ORDER BY 1
`;

/** Which of these orders a table has rows of. */
export const readHeldOrders = (schema: string, table: string, orderIds: readonly string[]): SQLQuery => sql`
  SELECT DISTINCT order_id::text AS order_id
  FROM ${sql.ident(schema, table)}
  WHERE order_id = ANY(${[...orderIds]}::uuid[])
`;

/**
 * One row (`oid`, `schema`, `name`, `kind`) for each table with all of these columns, but those of `known` oids. Temporary
 * and system tables are left out.
 */
export const readStandIns = (columns: readonly string[], known: readonly number[]): SQLQuery => sql`
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
