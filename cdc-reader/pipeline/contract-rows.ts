// The rows of the contract's two tables as the stream brings them: whether a relation is one of the captured tables, which
// of its columns are the contract's, and their values as text. Guarantees: a row counts as an order or item only if its
// relation has the captured table's oid, name and schema, and readable contract columns; where some of that fits and some
// does not, the row is refused (I1). Any other relation is another table's.
import {
  type ContractTable,
  contractSchema,
  contractTableNames,
  contractTables,
  isReadable,
} from '#schemas/contract-tables.ts';
import { decodeTuple, type PgoutputMessage } from '../postgres/pgoutput.ts';
import type { ItemRow, OrderRow } from './order-event.ts';

/** Where one of the two tables has the contract's columns, in the order of the constants below. */
export interface ContractRelation {
  readonly kind: 'orders' | 'items';
  readonly columns: number;
  readonly at: readonly number[];
}

const ORDER_COLUMNS = ['order_id', 'user_id', 'source', 'currency', 'total_cents', 'placed_at'] as const;
const ITEM_COLUMNS = ['order_id', 'line_no', 'sku', 'quantity', 'unit_price_cents', 'cart_line_id'] as const;

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
  const at: number[] = [];
  for (const column of table === 'orders' ? ORDER_COLUMNS : ITEM_COLUMNS) {
    const index = relation.columns.findIndex((one) => one.name === column);
    if (index < 0) return refuse(`a row of ${schema}.${table} without the column ${column}`);
    if (!isReadable(table, column, relation.columns[index]!.typeOid)) {
      const types = contractTables[table][column]!.map((type) => type.name).join(' or ');
      return refuse(`a row of ${schema}.${table} whose column ${column} was not ${types}`);
    }
    at.push(index);
  }
  return { kind: table === 'orders' ? 'orders' : 'items', columns: relation.columns.length, at };
}

export function readOrder(tuple: Buffer, relation: ContractRelation): OrderRow {
  const values = decodeTuple(tuple, relation.columns);
  const at = relation.at;
  return {
    orderId: values[at[0]!]!,
    userId: values[at[1]!]!,
    source: values[at[2]!]!,
    currency: values[at[3]!]!,
    totalCents: values[at[4]!]!,
    placedAt: values[at[5]!]!,
  };
}

export function readItem(tuple: Buffer, relation: ContractRelation): ItemRow {
  const values = decodeTuple(tuple, relation.columns);
  const at = relation.at;
  return {
    orderId: values[at[0]!]!,
    lineNo: values[at[1]!]!,
    sku: values[at[2]!]!,
    quantity: values[at[3]!]!,
    unitPriceCents: values[at[4]!]!,
    cartLineId: values[at[5]!] ?? null,
  };
}
