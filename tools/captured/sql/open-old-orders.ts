import { type SQLQuery, sql } from '@databases/pg';

/** A cursor over the order ids of a table, whatever it is called now, each once and sorted. */
export function openOldOrders(schema: string, name: string): SQLQuery {
  return sql`
    DECLARE old_orders NO SCROLL CURSOR FOR SELECT DISTINCT order_id::text AS order_id FROM ${sql.ident(schema, name)} ORDER BY 1
  `;
}

export const fetchOldOrders = sql`FETCH 1000 FROM old_orders`;
export const closeOldOrders = sql`CLOSE old_orders`;
