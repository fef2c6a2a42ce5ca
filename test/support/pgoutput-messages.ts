// Messages as the parser gives them, made by hand: the two tables of the contract and rows of theirs.
import type { PgoutputMessage } from '../../cdc-reader/postgres/pgoutput.ts';

const TEXT = 25;

function relation(relationOid: number, name: string, columns: readonly string[]): PgoutputMessage {
  return {
    kind: 'relation',
    relationOid,
    schema: 'public',
    name,
    columns: columns.map((column, index) => ({ name: column, typeOid: TEXT, isKey: index === 0 })),
  };
}

export const ordersRelation = relation(1, 'orders', [
  'order_id',
  'user_id',
  'status',
  'source',
  'currency',
  'total_cents',
  'placed_at',
]);

export const itemsRelation = relation(2, 'order_items', [
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
