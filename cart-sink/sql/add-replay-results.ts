import { sql } from '@databases/pg';
import type { ReplayTally } from '#schemas/replay/records.ts';

/**
 * Adds what a batch did to the sums of its run in its partition. `tally.count` is not stored: it is the sum of the four
 * counts. `end` is what the run says to have published there, when the batch holds its end.
 */
export const addReplayResults = (
  place: { readonly runId: string; readonly consumerGroup: string; readonly partition: number },
  counts: { readonly applied: number; readonly already: number; readonly changed: number; readonly parked: number },
  tally: ReplayTally,
  end: ReplayTally | undefined,
) => sql`
  INSERT INTO replay_results AS stored
    (run_id, consumer_group, partition, applied, already, changed, parked, checksum, end_count, end_checksum, ended_at)
  VALUES (${place.runId}, ${place.consumerGroup}, ${place.partition}, ${counts.applied}, ${counts.already},
    ${counts.changed}, ${counts.parked}, ${String(tally.checksum)}::numeric, ${end?.count ?? null},
    ${end === undefined ? null : String(end.checksum)}::numeric,
    CASE WHEN ${end !== undefined} THEN now() END)
  ON CONFLICT (run_id, consumer_group, partition) DO UPDATE SET
    applied = stored.applied + excluded.applied,
    already = stored.already + excluded.already,
    changed = stored.changed + excluded.changed,
    parked = stored.parked + excluded.parked,
    checksum = mod(stored.checksum + excluded.checksum, 18446744073709551616),
    end_count = coalesce(excluded.end_count, stored.end_count),
    end_checksum = coalesce(excluded.end_checksum, stored.end_checksum),
    ended_at = coalesce(excluded.ended_at, stored.ended_at),
    updated_at = now()
`;
