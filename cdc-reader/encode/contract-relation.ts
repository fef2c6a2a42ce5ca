// Which rows are orders and items, by the RELATION message that precedes them. Guarantees: a row counts only if its
// relation has the captured table's oid, name and schema, and readable contract columns in the recorded order (I1); where
// some of that differs, it is refused. What the columns hold is read by encode-event.ts.
import type { CapturedTable } from '#schemas/capture-fingerprint.ts';
import {
  type ContractTable,
  contractSchema,
  contractTableNames,
  contractTables,
  isReadable,
} from '#schemas/contract-tables.ts';
import { TRACEPARENT } from '#service/tracing/trace-context.ts';
import type { PgoutputMessage } from '../postgres/pgoutput.ts';

/** Where one of the two tables has the contract's columns. */
export interface ContractRelation {
  readonly kind: 'orders' | 'items';
  readonly columns: number;
  /** Of each column of the tuple, whether it is of the contract, or a trace context; the others are never read. */
  readonly wanted: readonly boolean[];
  /** The index in the tuple of each contract column, in the order of `contractTables`. */
  readonly at: readonly number[];
  /** The index of an order's trace context; undefined where there is no such column. */
  readonly traceparent: number | undefined;
}

/** The relation of rows that were read by name and hold the contract's columns alone. */
export function plainRelation(table: ContractTable): ContractRelation {
  const at = Object.keys(contractTables[table]).map((_, index) => index);
  return {
    kind: table === 'orders' ? 'orders' : 'items',
    columns: at.length,
    wanted: at.map(() => true),
    at,
    traceparent: undefined,
  };
}

/** The captured tables, as the fingerprint has them. */
export type CapturedTables = Readonly<Record<ContractTable, CapturedTable>>;

/** What the rows of a relation are; the first row of a refused one halts the reader with `what`. */
export type RelationRole = ContractRelation | 'other' | { readonly kind: 'refused'; readonly what: string };

type Relation = Extract<PgoutputMessage, { kind: 'relation' }>;

export function classifyRelation(relation: Relation, captured: CapturedTables): RelationRole {
  const { relationOid, schema, name } = relation;
  const byOid = contractTableNames.find((table) => captured[table].oid === relationOid);
  const byName = schema === contractSchema ? contractTableNames.find((table) => table === name) : undefined;
  if (byOid === undefined && byName === undefined) return 'other';
  const refuse = (what: string) => ({ kind: 'refused', what }) as const;
  if (byOid !== byName) {
    const row = `a row of ${schema}.${name} (oid ${relationOid})`;
    return refuse(
      byOid === undefined
        ? `${row}, but the captured table of that name has oid ${captured[byName!].oid}`
        : `${row}, which is the captured table ${contractSchema}.${byOid} under another name`,
    );
  }
  const table = byOid!;
  const at: [column: string, index: number][] = [];
  for (const [column, types] of Object.entries(contractTables[table])) {
    const index = relation.columns.findIndex((one) => one.name === column);
    if (index < 0) return refuse(`a row of ${schema}.${table} without the column ${column}`);
    if (!isReadable(table, column, relation.columns[index]!.typeOid)) {
      const names = types.map((type) => type.name).join(' or ');
      return refuse(`a row of ${schema}.${table} whose column ${column} was not ${names}`);
    }
    at.push([column, index]);
  }
  // Two columns of one type whose names were swapped hold each other's values.
  const known = captured[table].columns.map(({ name: column }) => column);
  const found = at
    .toSorted(([, one], [, other]) => one - other)
    .flatMap(([column]) => (known.includes(column) ? column : []));
  const recorded = known.filter((column) => found.includes(column));
  if (found.join() !== recorded.join()) {
    return refuse(
      `a row of ${schema}.${table} with its columns in the order ${found.join(', ')}, captured as ${recorded.join(', ')}`,
    );
  }
  // Columns only leave: one that stands behind its own place has its name from a column there.
  const moved = captured[table].columns.find(({ name: column, attnum }) => new Map(at).get(column)! > attnum - 1);
  if (moved !== undefined) return refuse(`a row of ${schema}.${table} whose ${moved.name} is another column`);
  const indices = at.map(([, index]) => index);
  const traceparent = table === 'orders' ? findTraceparent(relation) : undefined;
  const wanted = relation.columns.map((_, index) => indices.includes(index) || index === traceparent);
  return {
    kind: table === 'orders' ? 'orders' : 'items',
    columns: relation.columns.length,
    wanted,
    at: indices,
    traceparent,
  };
}

const TEXT_OID = 25;

function findTraceparent({ columns }: Relation): number | undefined {
  const index = columns.findIndex(({ name, typeOid }) => name === TRACEPARENT && typeOid === TEXT_OID);
  return index < 0 ? undefined : index;
}
