// The rows of the contract's two tables as the stream brings them: whether a relation is one of the captured tables, which
// of its columns are the contract's, and their values as text. Guarantees: a row counts as an order or item only if its
// relation has the captured table's oid, name and schema, and readable contract columns; where some of that fits and some
// does not, the row is refused (I1). Any other relation is another table's.
import {
  type ContractRow,
  type ContractTable,
  contractSchema,
  contractTableNames,
  contractTables,
  isReadable,
} from '#schemas/contract-tables.ts';
import { decodeTuple, type PgoutputMessage } from '../postgres/pgoutput.ts';

/** Where one of the two tables has the contract's columns: contract column → index in the tuple. */
export interface ContractRelation {
  readonly kind: 'orders' | 'items';
  readonly columns: number;
  readonly at: readonly (readonly [column: string, index: number])[];
}

/** The oids of the captured tables. */
export type CapturedOids = Readonly<Record<ContractTable, number>>;

/** What the rows of a relation are; the first row of a refused one halts the reader, and `what` says why. */
export type RelationRole = ContractRelation | 'other' | { readonly kind: 'refused'; readonly what: string };

type Relation = Extract<PgoutputMessage, { kind: 'relation' }>;

export function classifyRelation(relation: Relation, captured: CapturedOids): RelationRole {
  const { relationOid, schema, name } = relation;
  const byOid = contractTableNames.find((table) => captured[table] === relationOid);
  const byName = schema === contractSchema ? contractTableNames.find((table) => table === name) : undefined;
  if (byOid === undefined && byName === undefined) return 'other';
  const refuse = (what: string) => ({ kind: 'refused', what }) as const;
  if (byOid !== byName) {
    const row = `a row of ${schema}.${name} (oid ${relationOid})`;
    return refuse(
      byOid === undefined
        ? `${row}, but the captured table of that name has oid ${captured[byName!]}`
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
  return { kind: table === 'orders' ? 'orders' : 'items', columns: relation.columns.length, at };
}

export function readOrder(tuple: Buffer, relation: ContractRelation): ContractRow<'orders'> {
  return readColumns(tuple, relation) as ContractRow<'orders'>;
}

export function readItem(tuple: Buffer, relation: ContractRelation): ContractRow<'order_items'> {
  return readColumns(tuple, relation) as ContractRow<'order_items'>;
}

/** Always in the same order of columns: V8 gives all rows of a table one hidden class. */
function readColumns(tuple: Buffer, { columns, at }: ContractRelation): Record<string, string | null> {
  const values = decodeTuple(tuple, columns);
  const row: Record<string, string | null> = {};
  for (const [column, index] of at) row[column] = values[index] ?? null;
  return row;
}
