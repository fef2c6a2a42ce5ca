/**
 * Forgets the Idempotency-Keys of yesterday, beside the carts' requests and never in one.
 *
 * Guarantees that one statement deletes a bounded number of rows, and that a failure costs nothing but time: the next
 * run continues. Any number of sinks may do it at once. Keys live for 24 hours at least.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Queryable } from '@databases/pg';
import type { Logger } from '#service/logger.ts';
import type { Metrics } from '#service/metrics.ts';
import { deleteOldKeys } from '../sql/cart-line-keys.ts';

const KEYS_NOT_FORGOTTEN = 'carts.keys-not-forgotten';

/** Some 10 ms of work for the database. */
const BATCH_ROWS = 1_000;
const EVERY_MS = 60_000;
/** After a full batch: 1,000 keys a second are more than a sink can add. */
const NEXT_BATCH_MS = 1_000;

/** Runs until `signal` is aborted. */
export async function forgetOldKeys(options: {
  readonly database: Queryable;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly signal: AbortSignal;
}): Promise<void> {
  const { database, logger, metrics, signal } = options;
  const forgotten = metrics.counter('tillstream_cart_keys_forgotten_total', 'Idempotency keys deleted after a day');
  while (!signal.aborted) {
    let deleted = 0;
    try {
      deleted = (await database.query(deleteOldKeys(BATCH_ROWS))).length;
      forgotten.inc(deleted);
    } catch (error) {
      logger.warn({ event: KEYS_NOT_FORGOTTEN, err: error }, 'old idempotency keys were not deleted; trying again');
    }
    const pauseMs = deleted === BATCH_ROWS ? NEXT_BATCH_MS : EVERY_MS;
    await delay(pauseMs, undefined, { signal, ref: false }).catch(() => undefined);
  }
}
