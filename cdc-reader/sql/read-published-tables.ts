import { type SQLQuery, sql } from '@databases/pg';

/**
 * The tables that a publication lists by name. Columns that came with Postgres 15 are taken from the row as JSON, where a
 * missing one is NULL: `prqual` (a row filter) and `prattrs` (the attnums of a column list).
 */
export function readPublishedTables(publicationName: string): SQLQuery {
  return sql`
    SELECT member.prrelid::bigint AS oid,
      namespace.nspname AS schema,
      class.relname AS name,
      to_jsonb(member) ->> 'prqual' IS NOT NULL AS has_row_filter,
      (
        SELECT array_agg(attribute.attname::text ORDER BY attribute.attnum)
        FROM pg_attribute AS attribute
        WHERE attribute.attrelid = member.prrelid
          AND jsonb_typeof(to_jsonb(member) -> 'prattrs') = 'array'
          AND to_jsonb(member) -> 'prattrs' @> to_jsonb(attribute.attnum)
      ) AS columns
    FROM pg_publication AS publication
    JOIN pg_publication_rel AS member ON member.prpubid = publication.oid
    JOIN pg_class AS class ON class.oid = member.prrelid
    JOIN pg_namespace AS namespace ON namespace.oid = class.relnamespace
    WHERE publication.pubname = ${publicationName}
    ORDER BY namespace.nspname, class.relname
  `;
}
