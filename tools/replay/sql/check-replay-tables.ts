import { sql } from '@databases/pg';

/** Fails with 42P01 or 42703 unless migration 0002 of the carts database was applied. */
export const checkReplayTables = sql`
  SELECT FROM consumer_offsets, replay_runs, replay_results, (SELECT line_created_xid FROM cart_removals LIMIT 0) AS removals
  LIMIT 0
`;
