// The statements on the publication that the reader decodes.
import { type SQLQuery, sql } from '@databases/pg';

/** Lets services that start together create the publication one after the other; released at the transaction's end. */
export const lockPublication = sql`SELECT pg_advisory_xact_lock(hashtextextended('tillstream.publication', 0))`;

/** Publishes the inserts into both tables. */
export function createPublication(name: string): SQLQuery {
  return sql`CREATE PUBLICATION ${sql.ident(name)} FOR TABLE public.orders, public.order_items WITH (publish = 'insert')`;
}

/** A row of {@link selectPublication}. */
export interface PublicationRow {
  readonly publishes_insert: boolean;
  /** Of `orders` and `order_items`, those that are published with every row and column. */
  readonly whole_tables: readonly string[];
}

/**
 * What a publication does with the two tables, or no row. Read through JSON: row filters and column lists exist since
 * Postgres 15, and Postgres 14 has no such columns to name. A list made before `traceparent` came may lack it: orders are
 * published without their trace context then.
 */
export function selectPublication(name: string): SQLQuery {
  return sql`
    SELECT publication.pubinsert AS publishes_insert, (
      SELECT coalesce(json_agg(published.tablename ORDER BY published.tablename), '[]')
      FROM pg_publication_tables AS published, to_jsonb(published) AS entry
      WHERE published.pubname = publication.pubname
        AND published.schemaname = 'public' AND published.tablename IN ('orders', 'order_items')
        AND entry->>'rowfilter' IS NULL
        AND NOT EXISTS (
          SELECT FROM pg_attribute
          WHERE attrelid = format('public.%I', published.tablename)::regclass AND attnum > 0 AND NOT attisdropped
            AND attgenerated = '' AND attname <> 'traceparent' AND NOT coalesce(entry->'attnames' @> to_jsonb(attname::text), true)
        )
    ) AS whole_tables
    FROM pg_publication AS publication
    WHERE publication.pubname = ${name}`;
}
