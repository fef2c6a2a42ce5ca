import { sql } from '@databases/pg';

/**
 * The server notices within half a minute (10 + 3 × 5 s) that this session's client is gone without a word, and lets go of
 * its advisory lock: by the system's defaults a first start would hold up the next one for two hours.
 */
export const setKeepalives = sql`
  SELECT set_config('tcp_keepalives_idle', '10', false),
    set_config('tcp_keepalives_interval', '5', false),
    set_config('tcp_keepalives_count', '3', false),
    set_config('tcp_user_timeout', '25000', false)
`;
