// The event of an order that was read from a snapshot and not from the stream: of the initial snapshot, and of a replay
// from the tables. A snapshot has no BEGIN, so `committedAt` is the time at which the order was placed.
import { addOrderId, type Checkpoint, hashOrderIds } from '#schemas/checkpoint.ts';
import { type Lsn, toLsn } from '#schemas/lsn.ts';
import type { OrderPlaced } from '#schemas/order-placed.ts';
import { timelineOf } from '#schemas/timeline.ts';
import type { CdcReaderConfig } from '../config.ts';
import {
  buildOrderPlaced,
  type EventRecord,
  eventRecord,
  parseTimestampMicros,
  type TransactionContext,
} from '../pipeline/order-event.ts';
import { OrderWithoutItemsError } from '../pipeline/unpublishable-errors.ts';
import type { SnapshotOrder } from '../postgres/snapshot.ts';
import type { SourceIdentity } from '../postgres/walsender.ts';

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

/**
 * Events of the snapshot lie just before the consistent point: a transaction that commits right at it is streamed, and
 * must have a greater position (I4).
 */
export function snapshotRecords(
  { ordersTopic }: CdcReaderConfig,
  identity: SourceIdentity,
  consistentPoint: Lsn,
  partitions: number,
  generation: number,
): (orders: readonly SnapshotOrder[]) => { records: EventRecord[]; lastPublished: Checkpoint['lastPublished'] } {
  const commitLsn = toLsn(consistentPoint - 1n);
  const timeline = timelineOf(commitLsn, identity.timeline, identity.history);
  const hash = hashOrderIds();
  let ordinal = 0;
  return (orders) => {
    const records = orders.map((order) => {
      const event = buildSnapshotEvent({ generation, timeline, commitLsn }, ordinal, order);
      ordinal += 1;
      addOrderId(hash, event.orderId);
      return eventRecord(ordersTopic, partitions, event);
    });
    const last = records.at(-1);
    if (last === undefined) return { records, lastPublished: null };
    const ordersHash = hash.copy().digest('hex');
    return { records, lastPublished: { commitLsn, ordinal: last.ordinal, orderId: last.orderId, ordersHash } };
  };
}
