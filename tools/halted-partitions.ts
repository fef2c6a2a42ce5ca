// The partitions that a sink has halted, as the carts database has them: audit and replay name them instead of waiting for
// them. Guarantees: each line names the code, the place and a command; no row value. The rows are those of
// sql/consumer-offsets.ts; whether the cause is gone by now, only the sink that takes the partition over finds out.
import type { Database } from '#service/database.ts';
import { formatParkCommand } from '../cart-sink/operations/repair-commands.ts';
import { type HaltedPartitionRow, readHaltedPartitions } from './sql/consumer-offsets.ts';

export async function findHaltedPartitions(
  { pool }: Database,
  consumerGroup: string,
  topics: readonly string[],
): Promise<readonly HaltedPartitionRow[]> {
  return pool.query(readHaltedPartitions(consumerGroup, topics));
}

const remedies: Readonly<Record<string, (row: HaltedPartitionRow) => string>> = {
  RECORDS_LOST: () => 'run npm run adopt -- sink',
  BATCH_UNREADABLE: (row) =>
    `make a broker the leader whose replica is whole, or park the batch: ${formatParkCommand(row, row.next_offset)}`,
  BATCH_TOO_LARGE: (row) =>
    `raise MAX_EXPANDED_BATCH_BYTES if it is Tillstream's, or park the batch: ${formatParkCommand(row, row.next_offset)}`,
  UNKNOWN_SCHEMA: (row) =>
    `deploy sinks that have the schema, or park the record: ${formatParkCommand(row, row.next_offset)}`,
};

/** One line. */
export function formatHaltedPartition(row: HaltedPartitionRow): string {
  const { topic, partition, next_offset, halted_code, halted_at } = row;
  const remedy =
    remedies[halted_code]?.(row) ??
    `deploy sinks that can apply the record, or park it: ${formatParkCommand(row, next_offset)}`;
  return `${topic}[${partition}] has halted at offset ${next_offset} with ${halted_code} since ${halted_at.toISOString()}: ${remedy}`;
}
