// The captured tables as a catalogue would describe them: publication, schema and both tables, for tests that need some
// CaptureFingerprint. What differs between two of them is the test's to say.
import {
  type CaptureFingerprint,
  type CatalogueRow,
  requireCaptured,
  type TableFingerprint,
} from '#schemas/capture-fingerprint.ts';
import { type ContractTable, contractTables } from '#schemas/contract-tables.ts';
import type { Capture, TableVisibility } from '../../../cdc-reader/postgres/capture.ts';

/** The OIDs of the two tables, as RELATION messages and publication members name them. */
export const exampleOids = { orders: 16384, order_items: 16390 } as const;

const row = (oid: number, xmin: string): CatalogueRow => ({ oid, xmin, owner: 10, acl: null });

export function exampleTable(table: ContractTable, changes: Partial<TableFingerprint> = {}): TableFingerprint {
  const names = Object.keys(contractTables[table]);
  return {
    oid: exampleOids[table],
    kind: 'r',
    persistence: 'p',
    isPartition: false,
    children: 0,
    hadChildren: false,
    hadRules: false,
    rules: 0,
    insertRules: [],
    // Behind columns of others, some of which are gone.
    columns: Object.fromEntries(names.map((name, index) => [name, [index + 21, contractTables[table][name]![0]!.oid]])),
    rowType: row(exampleOids[table] + 2, '740'),
    relfilenode: exampleOids[table],
    ...changes,
  };
}

/** Both tables as the migrations make them, listed by name. */
export function exampleCapture(changes: Partial<CaptureFingerprint> = {}): CaptureFingerprint {
  return {
    publication: {
      ...row(16400, '750'),
      allTables: false,
      tables: [
        { oid: 16401, xmin: '750', of: exampleOids.orders },
        { oid: 16402, xmin: '750', of: exampleOids.order_items },
      ],
      schemas: [],
    },
    schema: { ...row(2200, '700'), acl: '{pg_database_owner=UC/pg_database_owner,=U/pg_database_owner}' },
    tables: { orders: exampleTable('orders'), order_items: exampleTable('order_items') },
    ...changes,
  };
}

/** The same as a check reads it, by a role that may read everything. */
export function visibleCapture(
  fingerprint = exampleCapture(),
  visible: Partial<Record<ContractTable, Partial<TableVisibility>>> = {},
): Capture {
  const table = { isFiltered: false, maySelect: true };
  return {
    fingerprint,
    visibility: {
      mayUseSchema: true,
      tables: { orders: { ...table, ...visible.orders }, order_items: { ...table, ...visible.order_items } },
    },
  };
}

/** What rows of the stream must belong to. */
export const exampleCaptured = requireCaptured(exampleCapture());
