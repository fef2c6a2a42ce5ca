// What a publication publishes, for preflight: kinds of changes, and the tables that it lists. Who the published tables are
// is the capture fingerprint's. Reads catalogues only, so that a locked table holds up no start.

import type { SQLQuery } from '@databases/pg';
import { readPublication } from '../sql/read-publication.ts';
import { readPublishedTables } from '../sql/read-published-tables.ts';

export interface PublishedTable {
  readonly schema: string;
  readonly name: string;
  readonly oid: number;
  readonly hasRowFilter: boolean;
  /** The columns that are published; null for all of them. */
  readonly columnList: readonly string[] | null;
}

export interface PublicationState {
  readonly allTables: boolean;
  readonly inserts: boolean;
  readonly updates: boolean;
  readonly deletes: boolean;
  readonly truncates: boolean;
  readonly viaRoot: boolean;
  /** Those that it lists by name: none for ALL TABLES and TABLES IN SCHEMA. */
  readonly tables: readonly PublishedTable[];
}

type Row = Record<string, unknown>;
type Query = (statement: SQLQuery) => Promise<Row[]>;

/** Reads it, or null when there is none of that name. */
export async function readPublicationState(query: Query, publicationName: string): Promise<PublicationState | null> {
  const [publication] = await query(readPublication(publicationName));
  if (publication === undefined) return null;
  const tables = await query(readPublishedTables(publicationName));
  return {
    allTables: publication.all_tables as boolean,
    inserts: publication.inserts as boolean,
    updates: publication.updates as boolean,
    deletes: publication.deletes as boolean,
    truncates: publication.truncates as boolean,
    viaRoot: publication.via_root as boolean,
    tables: tables.map((table) => ({
      schema: table.schema as string,
      name: table.name as string,
      oid: Number(table.oid),
      hasRowFilter: table.has_row_filter as boolean,
      columnList: table.columns as string[] | null,
    })),
  };
}
