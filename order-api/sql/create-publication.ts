import { type SQLQuery, sql } from '@databases/pg';

/** Publishes the inserts into both tables. */
export function createPublication(name: string): SQLQuery {
  return sql`CREATE PUBLICATION ${sql.ident(name)} FOR TABLE public.orders, public.order_items WITH (publish = 'insert')`;
}
