import { sql } from '@databases/pg';

/** What the sinks of a group have done with a run, by partition. */
export const readRunResults = (runId: string, group: string) => sql`
  SELECT partition, applied, already, changed, parked, checksum::text AS checksum,
    end_count, end_checksum::text AS end_checksum, ended_at, updated_at
  FROM replay_results WHERE run_id = ${runId} AND consumer_group = ${group} ORDER BY partition
`;
