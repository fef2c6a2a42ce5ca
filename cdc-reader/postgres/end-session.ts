import type pg from 'pg';
import { connectionOf } from './raw-replication.ts';

/** A server that is there answers in milliseconds; one that is silent must not hold up the next start (I8). */
export const END_LIMIT_MS = 1_000;

/** Ends the client's session, or cuts its connection when the server does not answer in time. */
export async function endSession(client: pg.Client): Promise<void> {
  const limit = setTimeout(() => connectionOf(client).stream.destroy(), END_LIMIT_MS);
  try {
    await client.end();
  } finally {
    clearTimeout(limit);
  }
}
