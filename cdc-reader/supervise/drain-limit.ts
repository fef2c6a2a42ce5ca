// How long a stop may drain: from its signal on nothing more is taken in, and what was in flight is published within a
// limit; beyond it this start is given up, and the next one publishes the rest.
import type { Logger } from '#service/logger.ts';
import { READER_DRAIN_ABANDONED } from '../metrics.ts';
import type { Lifeline } from './lifeline.ts';
import { DrainAbandonedError } from './restart-errors.ts';

/** Of the 9.5 s that a stop may take; the rest is for letting go of slot and producer. */
export const DRAIN_LIMIT_MS = 5_000;

/** Calls `onStop` once `stop` is aborted, and fails `lifeline` when `end` was not called `limitMs` later. */
export function limitDrain(options: {
  stop: AbortSignal;
  lifeline: Lifeline;
  logger: Logger;
  limitMs: number;
  onStop: () => void;
}): { end(): void } {
  const { stop, lifeline, logger, limitMs, onStop } = options;
  let limit: NodeJS.Timeout | undefined;
  const abandon = (): void => {
    const error = new DrainAbandonedError(limitMs);
    logger.warn({ event: READER_DRAIN_ABANDONED }, error.message);
    lifeline.fail(error);
  };
  const begin = (): void => {
    onStop();
    limit = setTimeout(abandon, limitMs);
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
