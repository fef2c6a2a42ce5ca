// The event of an order that was read from a snapshot and not from the stream: of the first start, and of a replay from
// the tables. A snapshot tells no BEGIN, so `committedAt` is the time at which the order was placed.
import type { OrderPlaced } from '#schemas/order-placed.ts';
import { buildOrderPlaced, parseTimestampMicros, type TransactionContext } from '../pipeline/order-event.ts';
import { OrderWithoutItemsError } from '../pipeline/unpublishable-errors.ts';
import type { SnapshotOrder } from '../postgres/snapshot.ts';

/** @throws OrderWithoutItemsError, RowNotPublishableError */
export function buildSnapshotEvent(
  context: Omit<TransactionContext, 'committedAt'>,
  ordinal: number,
  { order, items }: SnapshotOrder,
): OrderPlaced {
  if (items.length === 0) throw new OrderWithoutItemsError(context.commitLsn, ordinal);
  const committedAt = parseTimestampMicros(order.placed_at);
  return buildOrderPlaced({ ...context, committedAt }, ordinal, order, items);
}
