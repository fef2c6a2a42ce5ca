import { type SQLQuery, sql } from '@databases/pg';

/** Takes the lock named by `key` for as long as the session lasts, or tells that another session has it. */
export function tryAdvisoryLock(key: string): SQLQuery {
  return sql`SELECT pg_try_advisory_lock(hashtextextended(${key}, 0)) AS is_taken`;
}
