// A database transaction made ready for Kafka: its events encoded and given their partition as soon as it has arrived,
// while the one before is in flight. Guarantees: a user's orders go to one partition; a row that can't be an event is an
// error that names its position; a transaction above the bounds is left as it is, to be read while it is sent.

import { type OutgoingRecord, recordBytes } from '#kafka/protocol/record.ts';
import { encodeOrderPlaced } from '#schemas/codec.ts';
import { formatLsn, type Lsn } from '#schemas/lsn.ts';
import type { OrderPlaced } from '#schemas/order-placed.ts';
import { orderPartition } from '#schemas/partition.ts';
import type { CdcReaderConfig } from '../config.ts';
import type { CommittedTransaction } from './assemble-transaction.ts';
import type { Groupable } from './group-commit.ts';
import { RowNotPublishableError } from './unpublishable-errors.ts';

/** A database transaction ready to be published, as small as it can be held: encoded, or, if huge, still to be read. */
export interface PreparedTransaction extends Groupable {
  readonly commitLsn: Lsn;
  readonly committedAt: bigint;
  /** Undefined above the bounds: then its events are read while they are sent. */
  readonly records: readonly EventRecord[] | undefined;
  readonly fromOrdinal: number;
  readonly events: () => Iterable<OrderPlaced>;
  close(): void;
}

/** An event as a Kafka record, with what the checkpoint needs of it. */
export interface EventRecord extends OutgoingRecord {
  readonly orderId: string;
  readonly ordinal: number;
}

/**
 * @param fromOrdinal below it, the events were published by an earlier, partial checkpoint.
 * @param isAlone whether it must have a group for itself, however small
 */
export function prepareTransaction(
  transaction: CommittedTransaction,
  events: () => Iterable<OrderPlaced>,
  fromOrdinal: number,
  config: Pick<CdcReaderConfig, 'groupMaxOrders' | 'groupMaxBytes' | 'ordersTopic'>,
  partitions: number,
  isAlone = false,
): PreparedTransaction {
  const { commitLsn, endLsn, committedAt, orderCount, rowBytes } = transaction;
  const isHuge = orderCount > config.groupMaxOrders || rowBytes > config.groupMaxBytes || fromOrdinal > 0;
  const common = { isAlone: isHuge || isAlone, orders: orderCount, endLsn, commitLsn, committedAt, fromOrdinal };
  if (isHuge) return { ...common, records: undefined, bytes: rowBytes, events, close: transaction.close };
  const records: EventRecord[] = [];
  let bytes = 0;
  for (const event of events()) {
    const record = eventRecord(config.ordersTopic, partitions, event);
    records.push(record);
    bytes += recordBytes(record);
  }
  transaction.close();
  return { ...common, records, bytes, events: noEvents, close: nothingToClose };
}

// A transaction that waits encoded must not hold on to its rows, which take ten times as much room: no closure of it
// may be kept.
const noEvents = (): Iterable<OrderPlaced> => [];
const nothingToClose = (): void => undefined;

/** Key and partition follow from the user, so that a user's orders stay in order in one partition (I4). */
export function eventRecord(topic: string, partitions: number, event: OrderPlaced): EventRecord {
  const { userId, orderId, ordinal } = event;
  try {
    const value = encodeOrderPlaced(event);
    return { topic, partition: orderPartition(userId, partitions), key: userId, value, orderId, ordinal };
  } catch (cause) {
    const at = `the order at ${formatLsn(event.commitLsn)}:${ordinal}`;
    throw new RowNotPublishableError(at, cause instanceof Error ? `(${cause.message})` : 'is refused', { cause });
  }
}
