// From the bytes of an order's rows to the bytes of its event, without a value in between: texts are copied, numbers and
// times are read digit by digit. The bytes are those that avsc writes for the same order (property test).
// Guarantees: the same order gives the same bytes from the stream and from a snapshot; no digit is lost; a row that can't
// become a valid event is an error that names the column. Which rows belong together is row-buffer.ts's.
import { HEADER_OVERHEAD_BYTES, type OutgoingRecord, RECORD_OVERHEAD_BYTES } from '#kafka/protocol/record.ts';
import { latestOrderPlaced } from '#schemas/catalogue.ts';
import { columnNumbers } from '#schemas/contract-tables.ts';
import type { Lsn } from '#schemas/lsn.ts';
import { partitionOf } from '#schemas/partition.ts';
import { TRACEPARENT, TRACEPARENT_BYTES } from '#service/tracing/trace-context.ts';
import { decodeUtf8 } from '../postgres/pgoutput.ts';
import { AvroWriter } from './avro-writer.ts';
import { requireIdentifier, requirePrice, requireQuantity, requireText, requireUuid } from './check-values.ts';
import { readInteger, readTimestampMicros } from './read-numbers.ts';
import type { OrderRows, RowBuffer } from './row-buffer.ts';
import { ItemWithoutOrderError, OrderWithoutItemsError, RowNotPublishableError } from './unpublishable-errors.ts';

/** What all events of one database transaction share. `committedAt`: microseconds since 1970; undefined: as placed. */
export interface EventContext {
  readonly topic: string;
  readonly partitions: number;
  readonly generation: number;
  readonly timeline: number;
  readonly commitLsn: Lsn;
  readonly committedAt: bigint | undefined;
}

/**
 * An event as a Kafka record, with what the checkpoint needs of it. Key, value and id are made when they are asked for: as
 * objects of their own they would cost garbage collection more than encoding costs.
 */
export class EventRecord implements OutgoingRecord {
  readonly topic: string;
  readonly partition: number;
  readonly ordinal: number;
  readonly maxBytes: number;
  readonly headers: { readonly traceparent: string } | undefined;
  readonly #bytes: Buffer;
  readonly #start: number;
  readonly #end: number;
  /** Behind the texts of user and order. */
  readonly #userEnd: number;
  readonly #userBytes: number;
  readonly #orderEnd: number;
  readonly #orderBytes: number;

  constructor(topic: string, partition: number, ordinal: number, place: EventPlace, traceparent: string | undefined) {
    this.topic = topic;
    this.partition = partition;
    this.ordinal = ordinal;
    this.#bytes = writer.bytes;
    this.#start = writer.start;
    this.#end = writer.position;
    this.#userEnd = place.userEnd;
    this.#userBytes = place.userBytes;
    this.#orderEnd = place.orderEnd;
    this.#orderBytes = place.orderBytes;
    this.maxBytes = RECORD_OVERHEAD_BYTES + place.userBytes + this.#end - this.#start;
    this.headers = traceparent === undefined ? undefined : { traceparent };
    if (traceparent !== undefined) this.maxBytes += TRACE_HEADER_BYTES;
  }

  /** The user's id. */
  get key(): string {
    return this.#bytes.toString('utf8', this.#userEnd - this.#userBytes, this.#userEnd);
  }

  get value(): Buffer {
    return this.#bytes.subarray(this.#start, this.#end);
  }

  get orderId(): string {
    return this.#bytes.toString('latin1', this.#orderEnd - this.#orderBytes, this.#orderEnd);
  }
}

/** Where the texts of user and order end in the event, and how many bytes they have. */
interface EventPlace {
  userEnd: number;
  userBytes: number;
  orderEnd: number;
  orderBytes: number;
}

/** Of the event that is being written. */
const place: EventPlace = { userEnd: 0, userBytes: 0, orderEnd: 0, orderBytes: 0 };

const ORDER = columnNumbers('orders');
const ITEM = columnNumbers('order_items');
/** Of the longest header, prefix and end of the items: C3 01 and fingerprint (10), six ints and longs of at most 10. */
const FRAME_BYTES = 80;
const LARGEST_INT = 2 ** 31 - 1;
const TRACE_HEADER_BYTES = HEADER_OVERHEAD_BYTES + TRACEPARENT.length + TRACEPARENT_BYTES;

/** Of Avro's single-object encoding. */
const HEADER = Buffer.alloc(10);
HEADER.set([0xc3, 0x01]);
HEADER.writeBigUInt64LE(latestOrderPlaced.fingerprint, 2);

const writer = new AvroWriter();

/**
 * Encodes one order; its items by `line_no`. Key and partition follow from the user, so that a user's orders stay in order
 * in one partition (I4).
 * @throws ItemWithoutOrderError, OrderWithoutItemsError, RowNotPublishableError; PgoutputFormatError for text that is none
 */
export function encodeEvent(context: EventContext, ordinal: number, rows: RowBuffer, order: OrderRows): EventRecord {
  const { topic, partitions, commitLsn } = context;
  if (order.order < 0) throw new ItemWithoutOrderError(commitLsn);
  if (order.items.length === 0) throw new OrderWithoutItemsError(commitLsn, ordinal);
  // No value is longer in Avro than in the tuple, where each has five bytes more than its text.
  let bytes = FRAME_BYTES + rows.ends[order.order]! - rows.starts[order.order]!;
  for (const item of order.items) bytes += rows.ends[item]! - rows.starts[item]!;
  writer.begin(bytes);
  writeOrder(context, ordinal, rows, order.order);
  writer.long(order.items.length);
  for (const item of byLineNo(rows, order.items)) writeItem(rows, item);
  writer.long(0);
  const partition = partitionOf(writer.bytes, place.userEnd - place.userBytes, place.userEnd, partitions);
  const record = new EventRecord(topic, partition, ordinal, place, rows.traceparent(order.order));
  writer.end();
  return record;
}

function writeOrder(context: EventContext, ordinal: number, rows: RowBuffer, row: number): void {
  const { bytes, spans } = rows;
  const placedAt = rows.span(row, ORDER.placed_at);
  const placedAtMicros = readTimestampMicros(bytes, spans[placedAt]!, spans[placedAt + 1]!);
  writer.raw(HEADER);
  writer.long(context.generation);
  writer.long(context.timeline);
  writer.long(context.commitLsn);
  writer.long(ordinal);
  writer.long(context.committedAt ?? placedAtMicros);
  place.orderBytes = writeText(rows, row, ORDER.order_id, 'orders.order_id');
  place.orderEnd = writer.position;
  place.userBytes = writeIdentifier(rows, row, ORDER.user_id, 'orders.user_id');
  place.userEnd = writer.position;
  writeText(rows, row, ORDER.source, 'orders.source');
  writeText(rows, row, ORDER.currency, 'orders.currency');
  writer.long(readLong(rows, row, ORDER.total_cents, 'orders.total_cents'));
  writer.long(placedAtMicros);
}

function writeItem(rows: RowBuffer, row: number): void {
  writer.long(readInt(rows, row, ITEM.line_no, LINE_NO));
  writeIdentifier(rows, row, ITEM.sku, 'order_items.sku');
  const [quantity, price] = ['order_items.quantity', 'order_items.unit_price_cents'] as const;
  writer.long(requireQuantity(readInt(rows, row, ITEM.quantity, quantity), quantity));
  writer.long(requirePrice(readLong(rows, row, ITEM.unit_price_cents, price), price));
  const { bytes, spans } = rows;
  const span = rows.span(row, ITEM.cart_line_id);
  const isNull = spans[span]! < 0;
  writer.long(isNull ? 0 : 1);
  if (isNull) return;
  requireUuid(bytes, spans[span]!, spans[span + 1]!, 'order_items.cart_line_id');
  writeText(rows, row, ITEM.cart_line_id, 'order_items.cart_line_id');
}

const LINE_NO = 'order_items.line_no';

/** The items as they are where they come in order, as they mostly do. Two of one number can't be told apart in the ledger. */
function byLineNo(rows: RowBuffer, items: readonly number[]): readonly number[] {
  const lineNoOf = (row: number) => Number(readLong(rows, row, ITEM.line_no, LINE_NO));
  let last = -Infinity;
  for (const row of items) {
    const lineNo = lineNoOf(row);
    if (lineNo === last) throw new RowNotPublishableError(LINE_NO, 'is that of another item of the order');
    if (lineNo < last)
      return byLineNo(
        rows,
        items.toSorted((one, other) => lineNoOf(one) - lineNoOf(other)),
      );
    last = lineNo;
  }
  return items;
}

/** @returns its bytes. */
function writeIdentifier(rows: RowBuffer, row: number, column: number, name: string): number {
  const { bytes, spans } = rows;
  const span = rows.span(row, column);
  const start = spans[span]!;
  if (start >= 0) requireIdentifier(bytes, start, spans[span + 1]!, name);
  return writeText(rows, row, column, name);
}

/** @returns its bytes. */
function writeText(rows: RowBuffer, row: number, column: number, name: string): number {
  const { bytes, spans } = rows;
  const span = rows.span(row, column);
  const start = spans[span]!;
  const end = spans[span + 1]!;
  if (start < 0) throw new RowNotPublishableError(name, 'is NULL');
  requireText(start, end, name);
  if (!writer.text(bytes, start, end)) decodeUtf8(bytes, start, end);
  return end - start;
}

function readLong(rows: RowBuffer, row: number, column: number, name: string): number | bigint {
  const span = rows.span(row, column);
  return readInteger(rows.bytes, rows.spans[span]!, rows.spans[span + 1]!, name);
}

function readInt(rows: RowBuffer, row: number, column: number, name: string): number {
  const value = readLong(rows, row, column, name);
  if (value > LARGEST_INT || value < -LARGEST_INT - 1) {
    throw new RowNotPublishableError(name, 'holds a number of more than 32 bits');
  }
  return Number(value);
}
