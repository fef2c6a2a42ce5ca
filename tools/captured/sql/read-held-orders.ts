import { type SQLQuery, sql } from '@databases/pg';

/** Which of these orders a table has rows of. */
export function readHeldOrders(schema: string, name: string, orderIds: readonly string[]): SQLQuery {
  return sql`
    SELECT DISTINCT order_id::text AS order_id
    FROM ${sql.ident(schema, name)}
    WHERE order_id = ANY(${[...orderIds]}::uuid[])
  `;
}
