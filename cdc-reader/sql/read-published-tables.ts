import { type SQLQuery, sql } from '@databases/pg';

/**
 * The tables of a publication, however they got into it. Columns that came with Postgres 15 are taken from the row as
 * JSON, where a missing one is NULL: `attnames` (always all published columns) and `rowfilter`.
 */
export function readPublishedTables(publicationName: string): SQLQuery {
  return sql`
    SELECT published.schemaname AS schema,
      published.tablename AS name,
      format('%I.%I', published.schemaname, published.tablename)::regclass::oid::bigint AS oid,
      to_jsonb(published) ->> 'rowfilter' IS NOT NULL AS has_row_filter,
      to_jsonb(published) -> 'attnames' AS columns
    FROM pg_publication_tables AS published
    WHERE published.pubname = ${publicationName}
    ORDER BY published.schemaname, published.tablename
  `;
}
