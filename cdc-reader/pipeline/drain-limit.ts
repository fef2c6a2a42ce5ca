// How long a stop lets the reader publish what it has taken in. Guarantees: the start fails, with a warning, once that is
// over, so that slot and producer are closed in time; the next start publishes the rest.
import type { Logger } from '#service/logger.ts';
import { READER_DRAIN_ABANDONED } from '../metrics.ts';
import { DrainAbandonedError } from '../supervise/restart-errors.ts';
import type { Scope } from '../supervise/scope.ts';

/** Of the 9.5 s that a stop may take; the rest is for closing slot and producer. */
const DRAIN_LIMIT_MS = 5_000;

/** Calls `onStop` once a stop is wanted, and fails the scope where end() is not called within the limit. */
export function startDrainLimit(
  options: {
    readonly stop: AbortSignal;
    readonly scope: Pick<Scope, 'fail'>;
    readonly logger: Logger;
    readonly drainLimitMs?: number;
  },
  onStop: () => void,
): { end(): void } {
  const { stop, scope, logger, drainLimitMs = DRAIN_LIMIT_MS } = options;
  let limit: NodeJS.Timeout | undefined;
  const abandon = (): void => {
    const error = new DrainAbandonedError(drainLimitMs);
    logger.warn({ event: READER_DRAIN_ABANDONED }, error.message);
    scope.fail(error);
  };
  const begin = (): void => {
    onStop();
    limit = setTimeout(abandon, drainLimitMs);
  };
  stop.addEventListener('abort', begin);
  if (stop.aborted) begin();
  return {
    end() {
      stop.removeEventListener('abort', begin);
      clearTimeout(limit);
    },
  };
}
