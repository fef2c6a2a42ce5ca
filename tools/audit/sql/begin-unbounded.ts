import { sql } from '@databases/pg';

/** The first statement of an audit's transaction: takes its snapshot, and lifts the limits on how long it may last. */
export const beginUnbounded = sql`
  SELECT set_config('statement_timeout', '0', true), set_config('idle_in_transaction_session_timeout', '0', true)
`;
