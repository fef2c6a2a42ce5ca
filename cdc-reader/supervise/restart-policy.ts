// How long the reader waits before it restarts: back-off with jitter. Pure: the caller counts attempts and passes the
// randomness.
const FIRST_DELAY_MS = 100;
/** Low enough that recovery is seen within seconds of a fault's end (I8), high enough to not load a server at start. */
const LONGEST_DELAY_MS = 2_000;
/** A standby tries to take the slot this often; with wal_sender_timeout (10 s) it stays below the 15 s that a takeover may take. */
const STANDBY_DELAY_MS = 1_000;

/** What needs a person is retried by service/pipeline-health.ts's delays. */
export type RestartReason = 'failure' | 'standby' | 'waiting';

/**
 * Milliseconds before the next start.
 * @param attempt consecutive failures so far, from 0
 * @param random uniform in [0, 1): two readers must not stay in step
 */
export function restartDelayMs(reason: 'failure' | 'standby', attempt: number, random: number): number {
  const jitter = 0.75 + random / 2;
  if (reason === 'standby') return STANDBY_DELAY_MS * jitter;
  return Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** Math.min(attempt, 10)) * jitter;
}

/** A start that published for this long was a good one: what ended it is a new failure. */
const GOOD_START_MS = 10_000;

/**
 * Consecutive failures, the present one included: a start that only just began to publish before it failed does not make
 * the next one sooner, or a fault that shows with the first message would have the reader start ten times a second.
 * @param streamedMs how long the start that has failed was publishing; undefined if it never came to that
 */
export function countFailures(failures: number, streamedMs: number | undefined): number {
  return streamedMs !== undefined && streamedMs >= GOOD_START_MS ? 0 : failures + 1;
}
