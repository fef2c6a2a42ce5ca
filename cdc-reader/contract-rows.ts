// The rows of the contract's two tables as the stream brings them: which of a relation's columns are the contract's, and
// their values as text. Guarantees: columns are found by name, wherever a table has them; one that is missing halts.
import { ColumnMissingError } from './errors.ts';
import type { ItemRow, OrderRow } from './order-event.ts';
import { decodeTuple, type PgoutputMessage } from './postgres/pgoutput.ts';

/** Where one of the two tables has the contract's columns, in the order of the constants below. */
export interface ContractRelation {
  readonly kind: 'orders' | 'items';
  readonly columns: number;
  readonly at: readonly number[];
}

const ORDER_COLUMNS = ['order_id', 'user_id', 'source', 'currency', 'total_cents', 'placed_at'] as const;
const ITEM_COLUMNS = ['order_id', 'line_no', 'sku', 'quantity', 'unit_price_cents', 'cart_line_id'] as const;

/** The relation, if it is one of the contract's tables. @throws ColumnMissingError */
export function parseRelation(message: Extract<PgoutputMessage, { kind: 'relation' }>): ContractRelation | 'other' {
  if (message.schema !== 'public') return 'other';
  if (message.name === 'orders') return { kind: 'orders', ...columnsAt(message, ORDER_COLUMNS) };
  if (message.name === 'order_items') return { kind: 'items', ...columnsAt(message, ITEM_COLUMNS) };
  return 'other';
}

function columnsAt(
  message: Extract<PgoutputMessage, { kind: 'relation' }>,
  names: readonly string[],
): { columns: number; at: readonly number[] } {
  const at = names.map((name) => {
    const index = message.columns.findIndex((column) => column.name === name);
    if (index < 0) throw new ColumnMissingError(message.name, name);
    return index;
  });
  return { columns: message.columns.length, at };
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
