import { sql } from '@databases/pg';

export const releaseRunLock = (replayTopic: string) => sql`
  SELECT pg_advisory_unlock(hashtextextended(${`tillstream.replay.${replayTopic}`}, 0))
`;
