import { type SQLQuery, sql } from '@databases/pg';

/** What a publication publishes, with the identity of its own catalogue row, or no row. */
export function readPublication(publicationName: string): SQLQuery {
  return sql`
    SELECT publication.oid::text || '/' || publication.xmin::text AS row_identity,
      publication.puballtables AS all_tables,
      publication.pubinsert AS inserts,
      publication.pubupdate AS updates,
      publication.pubdelete AS deletes,
      publication.pubtruncate AS truncates
    FROM pg_publication AS publication
    WHERE publication.pubname = ${publicationName}
  `;
}
