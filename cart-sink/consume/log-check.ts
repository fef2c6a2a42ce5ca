/**
 * Checks that the log before a partition's position is the one that was applied (I11).
 *
 * A broker that dies may lose the end of a partition; what is published then takes the offsets of what was lost. Once the
 * log has grown beyond the position again, offsets no longer show it, and the new records before the position would never be
 * applied. So the newest order before the position must be in the ledger, or parked: positions rise within a partition, and
 * with that order everything before it is applied. Leaves to owned-partition.ts: when to check, which is at the first fetch
 * and whenever records come from another leader epoch, since no log is cut without a new one.
 */
import type { ConnectionPool } from '@databases/pg';
import type { LogRecord } from '#kafka/protocol/record.ts';
import type { KafkaLog } from '#kafka/reading/log.ts';
import { findNewestRecord } from '#kafka/reading/newest-record.ts';
import { decodeOrderPlaced } from '#schemas/codec.ts';
import { readSettled } from '../sql/applied-orders.ts';
import type { TopicPartition } from '../sql/consumer-offsets.ts';

const READ_DEADLINE_MS = 10_000;

/** An order that lies before the position and was neither applied nor parked. */
export interface UnappliedOrder {
  readonly offset: bigint;
  readonly orderId: string;
}

/** Null where the log before `position` is the applied one, or holds no order any more. */
export async function findUnapplied(
  { log, pool, consumerGroup }: { log: KafkaLog; pool: ConnectionPool; consumerGroup: string },
  { topic, partition }: TopicPartition,
  position: bigint,
): Promise<UnappliedOrder | null> {
  const range = (await log.readOffsets(topic)).get(partition);
  if (range === undefined || position > range.highWatermark) return null; // the other checks have more to report
  const newest = await findNewestRecord(log, {
    topic,
    partition,
    earliest: range.earliest,
    untilOffset: position,
    deadlineMs: READ_DEADLINE_MS,
    isWanted: (record) => readOrderId(record) !== undefined,
  });
  if (newest === null) return null;
  const { offset } = newest;
  const orderId = readOrderId(newest)!;
  const [row] = await pool.query(readSettled({ consumerGroup, topic, partition, offset, orderId }));
  return row.is_settled ? null : { offset, orderId };
}

/** Undefined for what was parked because it can't be decoded. */
function readOrderId({ value }: LogRecord): string | undefined {
  try {
    return value === null ? undefined : decodeOrderPlaced(value).orderId;
  } catch {
    return undefined;
  }
}
