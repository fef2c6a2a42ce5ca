// Announces a new generation of the live topic to the sinks: all their offsets of it go back to 0, in one transaction,
// with what was parked from it set aside. The ledger is kept, so that no order takes effect twice. Doing it again gives
// the same: a tool that was killed before it wrote the checkpoint is run again.

import { parseLsn } from '#schemas/lsn.ts';
import type { Database } from '#service/database.ts';
import { type GroupPositionRow, readGroupPositions } from '../sql/read-group-positions.ts';
import { resetTopicOffsets } from '../sql/reset-topic-offsets.ts';
import { setParkedAside } from '../sql/set-parked-aside.ts';
import type { GroupPosition } from './plan-reader.ts';

export interface ResetOffsets {
  /** The consumer groups that had consumed the topic. */
  readonly groups: readonly string[];
  /** How far each of them had applied it. */
  readonly applied: readonly GroupPosition[];
}

export function resetOffsets(
  { pool }: Pick<Database, 'pool'>,
  topic: string,
  generation: number,
): Promise<ResetOffsets> {
  return pool.tx(async (tx) => {
    const applied: GroupPositionRow[] = await tx.query(readGroupPositions(topic));
    const rows: { consumer_group: string; partition: number; owner_epoch: bigint }[] = await tx.query(
      resetTopicOffsets(topic, generation),
    );
    for (const { consumer_group: consumerGroup, partition, owner_epoch } of rows) {
      await tx.query(setParkedAside({ consumerGroup, topic, partition }, owner_epoch));
    }
    return {
      groups: [...new Set(rows.map((row) => row.consumer_group))],
      applied: applied.map((row) => ({
        positions: row.positions,
        timelines: [row.first_timeline, row.last_timeline],
        lowestLsn: row.lowest_lsn === null ? null : parseLsn(row.lowest_lsn),
      })),
    };
  });
}
