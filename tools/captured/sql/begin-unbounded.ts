import { sql } from '@databases/pg';

/**
 * The first statement of a transaction that reads whole tables: takes its snapshot, and lifts what the role, the database or
 * the server says about how long it may last. Asking the connection for no limit leaves theirs.
 */
export const beginUnbounded = sql`
  SELECT
    set_config('statement_timeout', '0', true),
    set_config('lock_timeout', '0', true),
    set_config('idle_in_transaction_session_timeout', '0', true)
`;
