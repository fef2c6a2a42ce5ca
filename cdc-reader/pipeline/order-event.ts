// Rows as Postgres prints them (text, ISO dates, UTC) become one OrderPlaced event. One builder serves the stream and
// the snapshot of the first start, so both publish the same bytes for the same order. Guarantees: no digit is lost
// (64-bit values stay bigint, microseconds are kept); a row that can't become a valid event is an error that names the
// column, never a guess. Which rows belong together is assemble-transaction's business.
import type { Lsn } from '#schemas/lsn.ts';
import type { OrderPlaced, OrderPlacedItem } from '#schemas/order-placed.ts';
import { RowNotPublishableError } from './unpublishable-errors.ts';

/** The contract's columns of one `orders` row, as text. */
export interface OrderRow {
  readonly orderId: string;
  readonly userId: string;
  readonly source: string;
  readonly currency: string;
  readonly totalCents: string;
  readonly placedAt: string;
}

/** The contract's columns of one `order_items` row, as text; `cartLineId` may be NULL. */
export interface ItemRow {
  readonly orderId: string;
  readonly lineNo: string;
  readonly sku: string;
  readonly quantity: string;
  readonly unitPriceCents: string;
  readonly cartLineId: string | null;
}

/** What all events of one database transaction share. `committedAt` is microseconds since 1970. */
export interface TransactionContext {
  readonly generation: number;
  readonly timeline: number;
  readonly commitLsn: Lsn;
  readonly committedAt: bigint;
}

/**
 * Builds the event of one order; items are put in order of `line_no`.
 * @throws RowNotPublishableError when a value can't be represented (the database's CHECKs make that impossible for
 * tables made by order-api's migrations).
 */
export function buildOrderPlaced(
  context: TransactionContext,
  ordinal: number,
  order: OrderRow,
  items: readonly ItemRow[],
): OrderPlaced {
  const eventItems: OrderPlacedItem[] = new Array(items.length);
  for (let i = 0; i < items.length; i++) {
    const item = items[i]!;
    eventItems[i] = {
      lineNo: parseInteger(item.lineNo, 'order_items.line_no'),
      sku: item.sku,
      quantity: parseInteger(item.quantity, 'order_items.quantity'),
      unitPriceCents: parseBigint(item.unitPriceCents, 'order_items.unit_price_cents'),
      cartLineId: item.cartLineId,
    };
  }
  eventItems.sort((a, b) => a.lineNo - b.lineNo);
  return {
    generation: context.generation,
    timeline: context.timeline,
    commitLsn: context.commitLsn,
    ordinal,
    committedAt: context.committedAt,
    orderId: order.orderId,
    userId: order.userId,
    source: order.source,
    currency: order.currency,
    totalCents: parseBigint(order.totalCents, 'orders.total_cents'),
    placedAt: parseTimestampMicros(order.placedAt),
    items: eventItems,
  };
}

function parseInteger(value: string, column: string): number {
  const parsed = Number(value);
  if (!Number.isSafeInteger(parsed) || value === '') throw new RowNotPublishableError(column, 'is not an integer');
  return parsed;
}

function parseBigint(value: string, column: string): bigint {
  if (!/^-?\d+$/.test(value)) throw new RowNotPublishableError(column, 'is not an integer');
  return BigInt(value);
}

const TIMESTAMP = /^(\d{4,6})-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?\+00$/;

/**
 * Microseconds since 1970 of a `timestamptz` as a session with DateStyle ISO and TimeZone UTC prints it.
 * @throws RowNotPublishableError for `infinity`, years before Christ, and other offsets than +00.
 */
export function parseTimestampMicros(value: string): bigint {
  const match = TIMESTAMP.exec(value);
  if (match === null) throw new RowNotPublishableError('orders.placed_at', 'is not a finite UTC timestamp');
  const [, year, month, day, hours, minutes, seconds, fraction = ''] = match;
  const atMs = Date.UTC(+year!, +month! - 1, +day!, +hours!, +minutes!, +seconds!);
  return BigInt(atMs) * 1000n + BigInt(fraction.padEnd(6, '0'));
}
