import { type SQLQuery, sql } from '@databases/pg';

/** One row, or none when there is no such publication: which kinds of changes it publishes. */
export function readPublication(publicationName: string): SQLQuery {
  return sql`
    SELECT puballtables AS all_tables, pubinsert AS inserts, pubupdate AS updates, pubdelete AS deletes,
      pubtruncate AS truncates, pubviaroot AS via_root
    FROM pg_publication
    WHERE pubname = ${publicationName}
  `;
}
