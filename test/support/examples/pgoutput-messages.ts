// Messages as the parser gives them, made by hand: the two tables of the contract and rows of theirs.
import { type ContractTable, contractTables } from '#schemas/contract-tables.ts';
import type { PgoutputMessage } from '../../../cdc-reader/postgres/pgoutput.ts';
import { exampleOids } from './capture.ts';

const TEXT = 25;

export type RelationMessage = Extract<PgoutputMessage, { kind: 'relation' }>;

function relation(name: ContractTable, columns: readonly string[]): RelationMessage {
  const typeOf = (column: string) => contractTables[name][column]?.[0]?.oid ?? TEXT;
  return {
    kind: 'relation',
    relationOid: exampleOids[name],
    schema: 'public',
    name,
    columns: columns.map((column, index) => ({ name: column, typeOid: typeOf(column), isKey: index === 0 })),
  };
}

const [orderId, userId, ...otherColumns] = Object.keys(contractTables.orders) as [string, string, ...string[]];
/** With a column that is not the contract's between those that are. */
export const ordersRelation = relation('orders', [orderId, userId, 'status', ...otherColumns]);
export const itemsRelation = relation('order_items', Object.keys(contractTables.order_items));

type Values = readonly (string | null)[];

/** A row of {@link ordersRelation}; columns without a value are NULL. */
export const orderTuple = (values: Values): Buffer => tupleOf(padded(values, ordersRelation));
/** A row of {@link itemsRelation}; columns without a value are NULL. */
export const itemTuple = (values: Values): Buffer => tupleOf(padded(values, itemsRelation));

const padded = (values: Values, { columns }: RelationMessage): Values =>
  columns.map((_, index) => values[index] ?? null);

/** TupleData: the number of columns, then for each `n`, or `t`, its length and its bytes. */
export function tupleOf(values: readonly (string | null)[]): Buffer {
  const parts = [Buffer.from([values.length >> 8, values.length & 255])];
  for (const value of values) {
    if (value === null) {
      parts.push(Buffer.from('n'));
      continue;
    }
    const bytes = Buffer.from(value);
    const head = Buffer.alloc(5);
    head.write('t');
    head.writeUInt32BE(bytes.length, 1);
    parts.push(head, bytes);
  }
  return Buffer.concat(parts);
}

/** The n-th of a row of UUIDs, none of which shares a prefix with its neighbours. */
export function uuid(n: number): string {
  const hex = (Math.imul(n + 1, 0x9e3779b1) >>> 0).toString(16).padStart(8, '0');
  return `${hex}-0000-7000-8000-${n.toString(16).padStart(12, '0')}`;
}
