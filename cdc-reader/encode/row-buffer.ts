// The rows of a database transaction, in one piece of memory, and grouped by order. Guarantees: a row is copied once, as
// bytes (a view would hold all that was read with it), and read when its order is encoded; no object and no string is made for a
// row, which is what garbage collection would cost most. Beyond SPILL_BYTES, row-spool.ts has the rows.
import { columnNumbers } from '#schemas/contract-tables.ts';
import type { ContractRelation } from './contract-relation.ts';
import { locateValues } from './tuple.ts';

/** Enough for most transactions; a buffer that has grown beyond it is not used again. */
const INITIAL_BYTES = 64 * 1024;

/** Rows by number, from 0, in the order in which they were added; row n lies from `starts[n]` to `ends[n]`. */
export class RowBuffer {
  bytes = Buffer.allocUnsafeSlow(INITIAL_BYTES);
  /** A row keeps the relation that its table had when it was written: one transaction may hold an ALTER TABLE. */
  readonly relations: ContractRelation[] = [];
  readonly starts: number[] = [];
  readonly ends: number[] = [];
  /** Of rows. The arrays may be longer: they are kept for the next transaction. */
  count = 0;
  #used = 0;

  add(relation: ContractRelation, tuple: Buffer): void {
    const end = this.#used + tuple.length;
    if (end > this.bytes.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(2 * this.bytes.length, end));
      larger.set(this.bytes);
      this.bytes = larger;
    }
    this.bytes.set(tuple, this.#used);
    const row = this.count++;
    this.relations[row] = relation;
    this.starts[row] = this.#used;
    this.ends[row] = end;
    this.#used = end;
  }

  /** Empties it for the next transaction. */
  clear(): void {
    this.count = 0;
    this.#used = 0;
    if (this.bytes.length <= INITIAL_BYTES) return;
    this.bytes = Buffer.allocUnsafeSlow(INITIAL_BYTES);
    for (const list of [this.relations, this.starts, this.ends]) list.length = 0;
  }
}

/** An order by the numbers of its rows, as far as they have come: one statement may write its items first. */
export interface OrderRows {
  readonly orderId: string;
  /** -1 while only items have come. */
  order: number;
  readonly items: number[];
}

const orderIdOf = { orders: columnNumbers('orders').order_id, items: columnNumbers('order_items').order_id };

let spans = new Int32Array(64);

/** Where the values of row `row` lie, by contract column: overwritten by the next call. @throws PgoutputFormatError */
export function locateRow(rows: RowBuffer, row: number): Int32Array {
  const { columns } = rows.relations[row]!;
  if (spans.length < 2 * columns) spans = new Int32Array(2 * columns);
  locateValues(rows.bytes, rows.starts[row]!, rows.ends[row]!, columns, spans);
  return spans;
}

/** The id of a row's order; '' for NULL, which the encoder refuses. @throws PgoutputFormatError */
export function readOrderId(rows: RowBuffer, row: number): string {
  const { kind, at } = rows.relations[row]!;
  const column = at[orderIdOf[kind]]!;
  const found = locateRow(rows, row);
  const start = found[2 * column]!;
  return start < 0 ? '' : rows.bytes.toString('latin1', start, found[2 * column + 1]); // a UUID, as Postgres prints it
}

/** The orders of a transaction, in the order in which it first wrote a row of each. @throws PgoutputFormatError */
export function groupByOrder(rows: RowBuffer): OrderRows[] {
  const orders: OrderRows[] = [];
  let byId: Map<string, OrderRows> | undefined;
  let open: OrderRows | undefined;
  let [openStart, openEnd] = [0, 0];
  for (let row = 0; row < rows.count; row++) {
    const { kind, at } = rows.relations[row]!;
    const column = at[orderIdOf[kind]]!;
    const found = locateRow(rows, row);
    const [start, end] = [found[2 * column]!, found[2 * column + 1]!];
    // The rows of an order mostly follow one another.
    if (open === undefined || !isSame(rows.bytes, start, end, openStart, openEnd)) {
      const orderId = readOrderId(rows, row);
      if (open !== undefined) byId ??= new Map([[open.orderId, open]]); // most transactions have one order
      let next = byId?.get(orderId);
      if (next === undefined) {
        next = { orderId, order: -1, items: [] };
        orders.push(next);
        byId?.set(orderId, next);
      }
      open = next;
      [openStart, openEnd] = [start, end];
    }
    if (kind === 'orders') open.order = row;
    else open.items.push(row);
  }
  return orders;
}

function isSame(bytes: Buffer, start: number, end: number, otherStart: number, otherEnd: number): boolean {
  if (end - start !== otherEnd - otherStart) return false;
  // From the end: UUIDs made at one time begin alike.
  for (let at = end - 1, other = otherEnd - 1; at >= start; at--, other--) {
    if (bytes[at] !== bytes[other]) return false;
  }
  return true;
}
