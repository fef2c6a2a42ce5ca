import { type SQLQuery, sql } from '@databases/pg';

/** The identities of the catalogue rows that put whole schemas into a publication. Postgres 15 and newer. */
export function readPublicationSchemas(publicationName: string): SQLQuery {
  return sql`
    SELECT member.oid::text || '/' || member.xmin::text AS row_identity
    FROM pg_publication_namespace AS member
    JOIN pg_publication AS publication ON publication.oid = member.pnpubid
    WHERE publication.pubname = ${publicationName}
    ORDER BY member.oid
  `;
}
