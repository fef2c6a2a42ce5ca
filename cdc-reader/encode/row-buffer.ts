// The rows of a database transaction, in one piece of memory, and grouped by order. Guarantees: a row is copied once, as
// bytes (a view would hold all that was read with it), and read when its order is encoded; no object and no string is made for a
// row, which is what garbage collection would cost most. Beyond SPILL_BYTES, row-spool.ts has the rows.
import { columnNumbers } from '#schemas/contract-tables.ts';
import { parseTraceParent, TRACEPARENT_BYTES } from '#service/tracing/trace-context.ts';
import type { ContractRelation } from './contract-relation.ts';
import { locateValues } from './tuple.ts';

/** Enough for most transactions; a buffer that has grown beyond it is not used again. */
const INITIAL_BYTES = 64 * 1024;
const INITIAL_SPANS = 4 * 1024;

/** Rows by number, from 0, in the order in which they were added; row n lies from `starts[n]` to `ends[n]`. */
export class RowBuffer {
  bytes: Buffer;
  /** Where the values of all rows lie in `bytes`, two numbers each: see {@link span}. */
  spans: Int32Array;
  /** A row keeps the relation that its table had when it was written: one transaction may hold an ALTER TABLE. */
  readonly relations: ContractRelation[] = [];
  readonly starts: number[] = [];
  readonly ends: number[] = [];
  /** Of rows. The arrays may be longer: they are kept for the next transaction. */
  count = 0;
  readonly #firstSpans: number[] = [];
  #used = 0;
  #spansUsed = 0;

  constructor(bytes = Buffer.allocUnsafeSlow(INITIAL_BYTES), spans = new Int32Array(INITIAL_SPANS)) {
    this.bytes = bytes;
    this.spans = spans;
  }

  /** A copy with the memory that its rows take: for one that is kept while others come. Nothing is to be added to it. */
  compact(): RowBuffer {
    const { count } = this;
    const copy = new RowBuffer(Buffer.from(this.bytes.subarray(0, this.#used)), this.spans.slice(0, this.#spansUsed));
    for (let row = 0; row < count; row += 1) {
      copy.relations.push(this.relations[row]!);
      copy.starts.push(this.starts[row]!);
      copy.ends.push(this.ends[row]!);
      copy.#firstSpans.push(this.#firstSpans[row]!);
    }
    copy.count = count;
    return copy;
  }

  /** Adds the row that lies in `source` from `start` to `end`. @throws PgoutputFormatError */
  add(relation: ContractRelation, source: Buffer, start = 0, end = source.length): void {
    const at = this.#used;
    const until = at + end - start;
    const { columns } = relation;
    this.#reserve(until, this.#spansUsed + 2 * columns);
    source.copy(this.bytes, at, start, end);
    locateValues(this.bytes, at, until, columns, this.spans, this.#spansUsed);
    const row = this.count++;
    this.relations[row] = relation;
    this.starts[row] = at;
    this.ends[row] = until;
    this.#firstSpans[row] = this.#spansUsed;
    this.#used = until;
    this.#spansUsed += 2 * columns;
  }

  /** Where in `spans` lies what a row has in contract column `column`: its first byte, or -1 for NULL, and the one behind. */
  span(row: number, column: number): number {
    return this.#firstSpans[row]! + 2 * this.relations[row]!.at[column]!;
  }

  /** The trace context of an order's row; undefined if it has none. Whatever else stands there counts as none. */
  traceparent(row: number): string | undefined {
    const index = this.relations[row]!.traceparent;
    if (index === undefined) return undefined;
    const span = this.#firstSpans[row]! + 2 * index;
    const start = this.spans[span]!;
    if (start < 0 || this.spans[span + 1]! - start !== TRACEPARENT_BYTES) return undefined;
    const text = this.bytes.toString('latin1', start, start + TRACEPARENT_BYTES);
    return parseTraceParent(text) === undefined ? undefined : text;
  }

  /** Empties it for the next transaction. */
  clear(): void {
    this.count = 0;
    this.#used = 0;
    this.#spansUsed = 0;
    if (this.bytes.length <= INITIAL_BYTES && this.spans.length <= INITIAL_SPANS) return;
    this.bytes = Buffer.allocUnsafeSlow(INITIAL_BYTES);
    this.spans = new Int32Array(INITIAL_SPANS);
    for (const list of [this.relations, this.starts, this.ends, this.#firstSpans]) list.length = 0;
  }

  #reserve(bytes: number, spans: number): void {
    if (bytes > this.bytes.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(2 * this.bytes.length, bytes));
      larger.set(this.bytes);
      this.bytes = larger;
    }
    if (spans > this.spans.length) {
      const more = new Int32Array(Math.max(2 * this.spans.length, spans));
      more.set(this.spans);
      this.spans = more;
    }
  }
}

/** An order by the numbers of its rows, as far as they have come: one statement may write its items first. */
export interface OrderRows {
  /** Any of its rows. */
  readonly first: number;
  /** -1 while only items have come. */
  order: number;
  readonly items: number[];
}

const orderIdOf = { orders: columnNumbers('orders').order_id, items: columnNumbers('order_items').order_id };

const orderIdSpan = (rows: RowBuffer, row: number): number => rows.span(row, orderIdOf[rows.relations[row]!.kind]);

/** The id of a row's order; '' for NULL, which the encoder refuses. */
export function readOrderId(rows: RowBuffer, row: number): string {
  const span = orderIdSpan(rows, row);
  const start = rows.spans[span]!;
  return start < 0 ? '' : rows.bytes.toString('latin1', start, rows.spans[span + 1]); // a UUID, as Postgres prints it
}

/** The orders of a transaction, in the order in which it first wrote a row of each. */
export function groupByOrder(rows: RowBuffer): OrderRows[] {
  const orders: OrderRows[] = [];
  let byId: Map<string, OrderRows> | undefined;
  let open: OrderRows | undefined;
  let openSpan = 0;
  for (let row = 0; row < rows.count; row++) {
    const span = orderIdSpan(rows, row);
    // The rows of an order mostly follow one another, and most transactions have one order.
    if (open === undefined || !isSame(rows, span, openSpan)) {
      if (open !== undefined) byId ??= new Map([[readOrderId(rows, open.first), open]]);
      const orderId = byId === undefined ? undefined : readOrderId(rows, row);
      let next = orderId === undefined ? undefined : byId!.get(orderId);
      if (next === undefined) {
        next = { first: row, order: -1, items: [] };
        orders.push(next);
        if (orderId !== undefined) byId!.set(orderId, next);
      }
      open = next;
      openSpan = span;
    }
    if (rows.relations[row]!.kind === 'orders') open.order = row;
    else open.items.push(row);
  }
  return orders;
}

function isSame({ bytes, spans }: RowBuffer, span: number, other: number): boolean {
  const [start, otherStart] = [spans[span]!, spans[other]!];
  const length = spans[span + 1]! - start;
  if (length !== spans[other + 1]! - otherStart) return false;
  // From the end: UUIDs made at one time begin alike.
  for (let at = length - 1; at >= 0; at--) if (bytes[start + at] !== bytes[otherStart + at]) return false;
  return true;
}
