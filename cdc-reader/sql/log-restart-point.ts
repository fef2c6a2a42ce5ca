import { sql } from '@databases/pg';

/** A running-xacts record, which the server writes by itself every 15 seconds: slots can let go of WAL up to one. */
export const logRestartPoint = sql`SELECT pg_log_standby_snapshot()`;
