import { sql } from '@databases/pg';

/** One run at a time: held by the session that publishes to this topic; false when another one has it. */
export const tryRunLock = (replayTopic: string) => sql`
  SELECT pg_try_advisory_lock(hashtextextended(${`tillstream.replay.${replayTopic}`}, 0)) AS is_taken
`;
