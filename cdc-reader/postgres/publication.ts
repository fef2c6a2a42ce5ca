// What a publication publishes, and a fingerprint that changes with it. A publication that was dropped and recreated, or
// altered, loses rows without an error; the object ids and transaction ids of its catalogue rows tell. A standby has the
// very same rows, so a promotion leaves the fingerprint as it was.

import type { SQLQuery } from '@databases/pg';
import { readPublication } from '../sql/read-publication.ts';
import { readPublicationMembers } from '../sql/read-publication-members.ts';
import { readPublicationSchemas } from '../sql/read-publication-schemas.ts';
import { readPublishedTables } from '../sql/read-published-tables.ts';

export interface PublishedTable {
  readonly schema: string;
  readonly name: string;
  readonly oid: number;
  readonly hasRowFilter: boolean;
  /** The columns that are published; null before Postgres 15, which always publishes all. */
  readonly columnList: readonly string[] | null;
}

export interface PublicationState {
  /** Equal as long as the publication is the same one, unaltered. */
  readonly fingerprint: string;
  readonly allTables: boolean;
  readonly inserts: boolean;
  readonly updates: boolean;
  readonly deletes: boolean;
  readonly truncates: boolean;
  readonly tables: readonly PublishedTable[];
}

type Query = (statement: SQLQuery) => Promise<Record<string, unknown>[]>;

/** Reads it, or null when there is none of that name. */
export async function readPublicationState(
  query: Query,
  publicationName: string,
  serverVersion: number,
): Promise<PublicationState | null> {
  const [publication] = await query(readPublication(publicationName));
  if (publication === undefined) return null;
  const members = await query(readPublicationMembers(publicationName));
  const schemas = serverVersion >= 150_000 ? await query(readPublicationSchemas(publicationName)) : [];
  const tables = await query(readPublishedTables(publicationName));
  const identities = (rows: Record<string, unknown>[]): string => rows.map((row) => row.row_identity).join(',');
  return {
    fingerprint: `publication ${identities([publication])}; tables ${identities(members)}; schemas ${identities(schemas)}`,
    allTables: publication.all_tables as boolean,
    inserts: publication.inserts as boolean,
    updates: publication.updates as boolean,
    deletes: publication.deletes as boolean,
    truncates: publication.truncates as boolean,
    tables: tables.map((table) => ({
      schema: table.schema as string,
      name: table.name as string,
      oid: Number(table.oid),
      hasRowFilter: table.has_row_filter as boolean,
      columnList: table.columns as string[] | null,
    })),
  };
}
