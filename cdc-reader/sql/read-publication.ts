// One statement for what a publication publishes and for the catalogue rows that it is made of, each by its object id and
// the transaction that wrote it: together they change with everything that is done to the publication.

import { type SQLQuery, sql } from '@databases/pg';

/** pg_publication_namespace came with Postgres 15; a statement that names it is refused before. */
const FIRST_WITH_SCHEMAS = 150_000;

/** One row, or none when there is no such publication. `serverVersion` as `server_version_num`. */
export function readPublication(publicationName: string, serverVersion: number): SQLQuery {
  const schemas = sql`
    SELECT string_agg(member.oid::text || '/' || member.xmin::text, ',' ORDER BY member.oid)
    FROM pg_publication_namespace AS member
    WHERE member.pnpubid = publication.oid
  `;
  return sql`
    SELECT publication.oid::text || '/' || publication.xmin::text AS publication_row,
      (
        SELECT string_agg(member.oid::text || '/' || member.xmin::text, ',' ORDER BY member.oid)
        FROM pg_publication_rel AS member
        WHERE member.prpubid = publication.oid
      ) AS table_rows,
      (${serverVersion < FIRST_WITH_SCHEMAS ? sql`NULL` : schemas}) AS schema_rows,
      publication.puballtables AS all_tables,
      publication.pubinsert AS inserts,
      publication.pubupdate AS updates,
      publication.pubdelete AS deletes,
      publication.pubtruncate AS truncates
    FROM pg_publication AS publication
    WHERE publication.pubname = ${publicationName}
  `;
}
