// From the bytes of an order's rows to the bytes of its event, without a value in between: texts are copied, numbers and
// times are read digit by digit. The bytes are those that encodeOrderPlaced writes for the same order (property test).
// Guarantees: the same order gives the same bytes from the stream and from a snapshot; no digit is lost; a row that can't
// become a valid event is an error that names the column. Which rows belong together is row-buffer.ts's.
import type { OutgoingRecord } from '#kafka/protocol/record.ts';
import { latestOrderPlaced } from '#schemas/catalogue.ts';
import { columnNumbers } from '#schemas/contract-tables.ts';
import type { Lsn } from '#schemas/lsn.ts';
import { orderPartition } from '#schemas/partition.ts';
import { decodeUtf8 } from '../postgres/pgoutput.ts';
import { AvroWriter } from './avro-writer.ts';
import { readInteger, readTimestampMicros } from './read-numbers.ts';
import { locateRow, type OrderRows, type RowBuffer } from './row-buffer.ts';
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

/** An event as a Kafka record, with what the checkpoint needs of it. */
export interface EventRecord extends OutgoingRecord {
  readonly orderId: string;
  readonly ordinal: number;
}

const ORDER = columnNumbers('orders');
const ITEM = columnNumbers('order_items');
/** Of the longest header, prefix and end of the items: C3 01 and fingerprint (10), six ints and longs of at most 10. */
const FRAME_BYTES = 80;
const LARGEST_INT = 2 ** 31 - 1;

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
  const key = writeOrder(context, ordinal, rows, order.order);
  writer.long(order.items.length);
  for (const item of byLineNo(rows, order.items)) writeItem(rows, item);
  writer.long(0);
  const partition = orderPartition(key, partitions);
  return { topic, partition, key, value: writer.end(), orderId: order.orderId, ordinal };
}

/** @returns the user's id. */
function writeOrder(context: EventContext, ordinal: number, rows: RowBuffer, row: number): string {
  const { bytes } = rows;
  const { at } = rows.relations[row]!;
  const spans = locateRow(rows, row);
  const placedAt = 2 * at[ORDER.placed_at]!;
  const placedAtMicros = readTimestampMicros(bytes, spans[placedAt]!, spans[placedAt + 1]!);
  writer.raw(HEADER);
  writer.long(context.generation);
  writer.long(context.timeline);
  writer.long(context.commitLsn);
  writer.long(ordinal);
  writer.long(context.committedAt ?? placedAtMicros);
  writeText(bytes, spans, at[ORDER.order_id]!, 'orders.order_id');
  writeText(bytes, spans, at[ORDER.user_id]!, 'orders.user_id');
  writeText(bytes, spans, at[ORDER.source]!, 'orders.source');
  writeText(bytes, spans, at[ORDER.currency]!, 'orders.currency');
  writeLong(bytes, spans, at[ORDER.total_cents]!, 'orders.total_cents');
  writer.long(placedAtMicros);
  const user = 2 * at[ORDER.user_id]!;
  return decodeUtf8(bytes, spans[user]!, spans[user + 1]!);
}

function writeItem(rows: RowBuffer, row: number): void {
  const { bytes } = rows;
  const { at } = rows.relations[row]!;
  const spans = locateRow(rows, row);
  writeInt(bytes, spans, at[ITEM.line_no]!, 'order_items.line_no');
  writeText(bytes, spans, at[ITEM.sku]!, 'order_items.sku');
  writeInt(bytes, spans, at[ITEM.quantity]!, 'order_items.quantity');
  writeLong(bytes, spans, at[ITEM.unit_price_cents]!, 'order_items.unit_price_cents');
  const cartLineId = at[ITEM.cart_line_id]!;
  const isNull = spans[2 * cartLineId]! < 0;
  writer.long(isNull ? 0 : 1);
  if (!isNull) writeText(bytes, spans, cartLineId, 'order_items.cart_line_id');
}

/** The items as they are where they come in order, as they mostly do. */
function byLineNo(rows: RowBuffer, items: readonly number[]): readonly number[] {
  let last = -Infinity;
  for (const row of items) {
    const lineNo = lineNoOf(rows, row);
    if (lineNo < last) return items.toSorted((one, other) => lineNoOf(rows, one) - lineNoOf(rows, other));
    last = lineNo;
  }
  return items;
}

function lineNoOf(rows: RowBuffer, row: number): number {
  const column = 2 * rows.relations[row]!.at[ITEM.line_no]!;
  const spans = locateRow(rows, row);
  return Number(readInteger(rows.bytes, spans[column]!, spans[column + 1]!, 'order_items.line_no'));
}

function writeText(bytes: Buffer, spans: Int32Array, column: number, name: string): void {
  const start = spans[2 * column]!;
  const end = spans[2 * column + 1]!;
  if (start < 0) throw new RowNotPublishableError(name, 'is NULL');
  if (!writer.text(bytes, start, end)) decodeUtf8(bytes, start, end);
}

function writeLong(bytes: Buffer, spans: Int32Array, column: number, name: string): void {
  writer.long(readInteger(bytes, spans[2 * column]!, spans[2 * column + 1]!, name));
}

function writeInt(bytes: Buffer, spans: Int32Array, column: number, name: string): void {
  const value = readInteger(bytes, spans[2 * column]!, spans[2 * column + 1]!, name);
  if (value > LARGEST_INT || value < -LARGEST_INT - 1) {
    throw new RowNotPublishableError(name, 'holds a number of more than 32 bits');
  }
  writer.long(value);
}
