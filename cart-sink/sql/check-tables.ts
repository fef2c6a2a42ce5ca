import { sql } from '@databases/pg';

/** Fails with 42P01 unless the tables are there: tells a server that answers from one that the sink can work with. */
export const checkTables = sql`
  SELECT FROM cart_lines, consumer_offsets, applied_orders, cart_removals, parked_events, replay_runs, replay_results
  LIMIT 0
`;
