import { sql } from '@databases/pg';

/** Values print in one form, ISO dates in UTC, whatever the server, role or database is set to. */
export const setCanonicalText = sql`
  SELECT set_config('DateStyle', 'ISO, MDY', false),
    set_config('TimeZone', 'UTC', false),
    set_config('client_encoding', 'UTF8', false)
`;
