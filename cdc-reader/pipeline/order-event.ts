// Rows as Postgres prints them (text, ISO dates, UTC) become one OrderPlaced event. One builder serves the stream and
// the snapshot of the first start, so both publish the same bytes for the same order. Guarantees: no digit is lost
// (64-bit values stay bigint, microseconds are kept); a row that can't become a valid event is an error that names the
// column, never a guess. Which rows belong together is assemble-transaction's business.
import type { ContractRow } from '#schemas/contract-tables.ts';
import type { Lsn } from '#schemas/lsn.ts';
import type { OrderPlaced, OrderPlacedItem } from '#schemas/order-placed.ts';
import { RowNotPublishableError } from './unpublishable-errors.ts';

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
  order: ContractRow<'orders'>,
  items: readonly ContractRow<'order_items'>[],
): OrderPlaced {
  const eventItems: OrderPlacedItem[] = new Array(items.length);
  for (let i = 0; i < items.length; i++) {
    const item = items[i]!;
    eventItems[i] = {
      lineNo: parseInteger(item.line_no, 'order_items.line_no'),
      sku: item.sku!,
      quantity: parseInteger(item.quantity, 'order_items.quantity'),
      unitPriceCents: parseBigint(item.unit_price_cents, 'order_items.unit_price_cents'),
      cartLineId: item.cart_line_id,
    };
  }
  eventItems.sort((a, b) => a.lineNo - b.lineNo);
  return {
    generation: context.generation,
    timeline: context.timeline,
    commitLsn: context.commitLsn,
    ordinal,
    committedAt: context.committedAt,
    orderId: order.order_id!,
    userId: order.user_id!,
    source: order.source!,
    currency: order.currency!,
    totalCents: parseBigint(order.total_cents, 'orders.total_cents'),
    placedAt: parseTimestampMicros(order.placed_at),
    items: eventItems,
  };
}

function parseInteger(value: string | null, column: string): number {
  const parsed = Number(value);
  if (!Number.isSafeInteger(parsed) || value === '' || value === null)
    throw new RowNotPublishableError(column, 'is not an integer');
  return parsed;
}

function parseBigint(value: string | null, column: string): bigint {
  if (value === null || !/^-?\d+$/.test(value)) throw new RowNotPublishableError(column, 'is not an integer');
  return BigInt(value);
}

const TIMESTAMP = /^(\d{4,6})-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?\+00$/;

/**
 * Microseconds since 1970 of a `timestamptz` as a session with DateStyle ISO and TimeZone UTC prints it.
 * @throws RowNotPublishableError for `infinity`, years before Christ, and other offsets than +00.
 */
export function parseTimestampMicros(value: string | null): bigint {
  const match = TIMESTAMP.exec(value ?? '');
  if (match === null) throw new RowNotPublishableError('orders.placed_at', 'is not a finite UTC timestamp');
  const [, year, month, day, hours, minutes, seconds, fraction = ''] = match;
  const atMs = Date.UTC(+year!, +month! - 1, +day!, +hours!, +minutes!, +seconds!);
  return BigInt(atMs) * 1000n + BigInt(fraction.padEnd(6, '0'));
}
