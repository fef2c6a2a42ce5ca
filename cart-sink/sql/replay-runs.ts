/**
 * Statements on `replay_runs`, which the replay tool writes, and `replay_results`, in which each batch adds up what it
 * did for its run. The sums change in the transaction that applies the records, so they can't differ from the effect.
 */
import { sql } from '@databases/pg';
import type { ReplayTally } from '#schemas/replay/records.ts';

/** The state of a run; no row if the tool has not stored the run. */
export const readRunState = (runId: string) => sql`
  SELECT state, passed_over_at IS NOT NULL AS is_passed_over FROM replay_runs WHERE run_id = ${runId}
`;

/**
 * Adds a batch to the sums of its run in its partition. `tally.count` is not stored: it is the sum of the four counts.
 * `end` is what the run's last record says was published, if the batch holds that record.
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

/** A run with the sums of what a group has done with it. */
export interface ReplayRunRow {
  readonly run_id: string;
  readonly state: string;
  readonly created_at: Date;
  /** As text. By the run's end records; what has arrived, in partitions without one. */
  readonly published: string;
  readonly applied: string;
  readonly already: string;
  readonly changed: string;
  readonly parked: string;
}

/** The newest {@link ReplayRunRow}s first, `most` at most. */
export const readReplayRuns = (consumerGroup: string, most: number) => sql`
  SELECT run.run_id, run.state, run.created_at,
    coalesce(sum(coalesce(result.end_count, applied + already + changed + parked)), 0)::text AS published,
    coalesce(sum(applied), 0)::text AS applied, coalesce(sum(already), 0)::text AS already,
    coalesce(sum(changed), 0)::text AS changed, coalesce(sum(parked), 0)::text AS parked
  FROM (SELECT run_id, state, created_at FROM replay_runs ORDER BY created_at DESC, run_id LIMIT ${most}) AS run
  LEFT JOIN replay_results AS result ON result.run_id = run.run_id AND result.consumer_group = ${consumerGroup}
  GROUP BY run.run_id, run.state, run.created_at
  ORDER BY run.created_at DESC, run.run_id
`;
