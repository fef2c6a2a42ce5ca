// The event of an order that was read from a snapshot and not from the stream: of the initial snapshot, and of a replay
// from the tables. A snapshot has no BEGIN, so `committedAt` is the time at which the order was placed.
import { addOrderId, type Checkpoint, hashOrderIds } from '#schemas/checkpoint.ts';
import { type ContractRow, type ContractTable, contractTables } from '#schemas/contract-tables.ts';
import { type Lsn, toLsn } from '#schemas/lsn.ts';
import { timelineOf } from '#schemas/timeline.ts';
import type { CdcReaderConfig } from '../config.ts';
import { plainRelation } from '../encode/contract-relation.ts';
import { type EventRecord, encodeEvent } from '../encode/encode-event.ts';
import { RowBuffer } from '../encode/row-buffer.ts';
import { formatTuple } from '../encode/tuple.ts';
import type { EventStamp } from '../pipeline/assemble-transaction.ts';
import type { SnapshotOrder } from '../postgres/snapshot.ts';
import type { SourceIdentity } from '../postgres/walsender.ts';

const relations = { orders: plainRelation('orders'), order_items: plainRelation('order_items') };
const rows = new RowBuffer();

/** @throws OrderWithoutItemsError, RowNotPublishableError */
export function encodeSnapshotOrder(
  stamp: EventStamp & { readonly commitLsn: Lsn },
  ordinal: number,
  { order, items }: SnapshotOrder,
): EventRecord {
  rows.clear();
  addRow('orders', order);
  for (const item of items) addRow('order_items', item);
  const numbers = { first: 0, order: 0, items: items.map((_, index) => index + 1) };
  return encodeEvent({ ...stamp, committedAt: undefined }, ordinal, rows, numbers);
}

function addRow<T extends ContractTable>(table: T, row: ContractRow<T>): void {
  const values = Object.keys(contractTables[table]).map((column) => row[column as keyof ContractRow<T>]);
  rows.add(relations[table], formatTuple(values));
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
    const stamp = { topic: ordersTopic, partitions, generation, timeline, commitLsn };
    const records = orders.map((order) => {
      const record = encodeSnapshotOrder(stamp, ordinal, order);
      ordinal += 1;
      addOrderId(hash, record.orderId);
      return record;
    });
    const last = records.at(-1);
    if (last === undefined) return { records, lastPublished: null };
    const ordersHash = hash.copy().digest('hex');
    return { records, lastPublished: { commitLsn, ordinal: last.ordinal, orderId: last.orderId, ordersHash } };
  };
}
