import { sql } from '@databases/pg';

/** How many records are parked, and how many different ones: one published twice is parked twice. */
export const readParked = sql`
  SELECT count(*)::int AS parked,
    count(DISTINCT (md5(coalesce(key, '')), md5(coalesce(value, '')), key IS NULL, value IS NULL))::int AS distinct_parked
  FROM parked_events
`;
