// Reads who the captured tables are and what the reader's role may read of them, in one statement. What the fingerprint
// means is schemas/capture-fingerprint.ts's; missing rights delay a start and are warned of while streaming, since the
// walsender filters nothing by them.
import type { SQLQuery } from '@databases/pg';
import type {
  CaptureFingerprint,
  CatalogueRow,
  PublicationFingerprint,
  TableFingerprint,
} from '#schemas/capture-fingerprint.ts';
import { type ContractTable, contractSchema, contractTableNames } from '#schemas/contract-tables.ts';
import {
  executeReadCapture,
  prepareReadCapture,
  readCapture,
  readPublication,
  readPublishedTables,
} from './sql/capture.ts';

export interface TableVisibility {
  /** Row-level security applies to this role, whatever its policies let through. */
  readonly isFiltered: boolean;
  /** On the table, or on each column of the contract. */
  readonly maySelect: boolean;
}

/** What the reader's role may read. A table that does not exist is null. */
export interface CaptureVisibility {
  readonly mayUseSchema: boolean;
  readonly tables: Readonly<Record<ContractTable, TableVisibility | null>>;
}

export interface Capture {
  readonly fingerprint: CaptureFingerprint;
  readonly visibility: CaptureVisibility;
}

type Query = (statement: SQLQuery) => Promise<Record<string, unknown>[]>;

/** Asks once, as in a snapshot. `serverVersion` as `server_version_num`. */
export async function readCapturedTables(
  query: Query,
  publicationName: string,
  serverVersion: number,
): Promise<Capture> {
  return parseCapture(await query(readCapture(publicationName, serverVersion)));
}

/** For one session, which must stay the same: the statement is prepared in it, for the first publication that is read. */
export function createCaptureReader(
  query: Query,
  serverVersion: number,
): (publicationName: string) => Promise<Capture> {
  let prepared: string | undefined;
  return async (publicationName) => {
    if (prepared === undefined) {
      await query(prepareReadCapture(publicationName, serverVersion));
      prepared = publicationName;
    }
    if (prepared !== publicationName) return readCapturedTables(query, publicationName, serverVersion);
    return parseCapture(await query(executeReadCapture));
  };
}

function parseCapture([row]: Record<string, unknown>[]): Capture {
  const tables = (row?.tables ?? {}) as Partial<Record<ContractTable, TableFingerprint>>;
  const visible = (row?.visibility ?? {}) as Partial<Record<ContractTable, TableVisibility>>;
  return {
    fingerprint: {
      publication: (row?.publication ?? null) as PublicationFingerprint | null,
      schema: (row?.schema ?? null) as CatalogueRow | null,
      tables: { orders: tables.orders ?? null, order_items: tables.order_items ?? null },
    },
    visibility: {
      mayUseSchema: row?.may_use_schema === true,
      tables: { orders: visible.orders ?? null, order_items: visible.order_items ?? null },
    },
  };
}

interface VisibilityProblem {
  readonly code: 'ROW_LEVEL_SECURITY' | 'NO_SELECT_PRIVILEGE' | 'NO_SCHEMA_PRIVILEGE';
  readonly problem: string;
  readonly remedy: string;
}

/** What keeps this role from reading every row of the two tables. */
export function findVisibilityProblems({ mayUseSchema, tables }: CaptureVisibility, role: string): VisibilityProblem[] {
  const problems: VisibilityProblem[] = [];
  if (!mayUseSchema) {
    problems.push({
      code: 'NO_SCHEMA_PRIVILEGE',
      problem: `The role ${role} may not use the schema ${contractSchema}.`,
      remedy: `Run GRANT USAGE ON SCHEMA ${contractSchema} TO ${role}.`,
    });
  }
  for (const name of contractTableNames) {
    const table = tables[name];
    if (table?.maySelect === false) {
      problems.push({
        code: 'NO_SELECT_PRIVILEGE',
        problem: `The role ${role} may not read ${contractSchema}.${name}.`,
        remedy: `Run GRANT SELECT ON ${contractSchema}.${name} TO ${role}.`,
      });
    }
    if (table?.isFiltered === true) {
      problems.push({
        code: 'ROW_LEVEL_SECURITY',
        problem: `Row-level security of ${contractSchema}.${name} applies to the role ${role}, so it can't prove that it sees every row.`,
        remedy:
          `Run ALTER ROLE ${role} BYPASSRLS as a superuser, or ALTER TABLE ${contractSchema}.${name} DISABLE ROW LEVEL SECURITY. ` +
          'A policy that lets all rows through is not enough.',
      });
    }
  }
  return problems;
}

interface PublishedTable {
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
