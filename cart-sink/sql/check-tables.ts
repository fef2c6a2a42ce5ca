import { sql } from '@databases/pg';

/** Fails with 42P01 or 42703 unless every table of the sink exists, as this version needs it. */
export const checkTables = sql`
  SELECT halted_code, parked_id FROM cart_lines, cart_line_keys, consumer_offsets, applied_orders, cart_removals, parked_events, replay_runs,
    replay_results
  LIMIT 0
`;
