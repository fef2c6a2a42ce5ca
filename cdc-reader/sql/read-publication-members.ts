import { type SQLQuery, sql } from '@databases/pg';

/** The identities of the catalogue rows that put tables into a publication. */
export function readPublicationMembers(publicationName: string): SQLQuery {
  return sql`
    SELECT member.oid::text || '/' || member.xmin::text AS row_identity
    FROM pg_publication_rel AS member
    JOIN pg_publication AS publication ON publication.oid = member.prpubid
    WHERE publication.pubname = ${publicationName}
    ORDER BY member.oid
  `;
}
