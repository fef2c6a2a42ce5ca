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

export const ordersRelation = relation('orders', [
  'order_id',
  'user_id',
  'status',
  'source',
  'currency',
  'total_cents',
  'placed_at',
]);

export const itemsRelation = relation('order_items', [
  'order_id',
  'line_no',
  'sku',
  'quantity',
  'unit_price_cents',
  'cart_line_id',
]);

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
