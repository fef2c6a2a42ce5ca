// What a publication publishes, and a fingerprint that changes with it. A publication that was dropped and recreated, or
// altered, loses rows without an error; the object ids and transaction ids of its catalogue rows tell. A standby has the
// very same rows, so a promotion leaves the fingerprint as it was.

import type { SQLQuery } from '@databases/pg';
import { readPublication } from '../sql/read-publication.ts';
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

type Row = Record<string, unknown>;
type Query = (statement: SQLQuery) => Promise<Row[]>;

/** Reads it, or null when there is none of that name. `serverVersion` as `server_version_num`. */
export async function readPublicationState(
  query: Query,
  publicationName: string,
  serverVersion: number,
): Promise<PublicationState | null> {
  const [publication] = await query(readPublication(publicationName, serverVersion));
  if (publication === undefined) return null;
  const tables = await query(readPublishedTables(publicationName));
  return {
    fingerprint: formatFingerprint(publication),
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

/** Its fingerprint alone, in one cheap statement: it is looked at before every acknowledgement. */
export async function readPublicationFingerprint(
  query: Query,
  publicationName: string,
  serverVersion: number,
): Promise<string | null> {
  const [publication] = await query(readPublication(publicationName, serverVersion));
  return publication === undefined ? null : formatFingerprint(publication);
}

function formatFingerprint({ publication_row, table_rows, schema_rows }: Row): string {
  return `publication ${publication_row}; tables ${table_rows ?? 'none'}; schemas ${schema_rows ?? 'none'}`;
}
