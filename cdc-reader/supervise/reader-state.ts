// The states of a reader, and what its health reports of them. Pure: the clock is an argument.
import { formatLsn } from '#schemas/lsn.ts';
import { type FirstStartProgress, formatProgress } from '../startup/first-start/progress.ts';
import type { StandbyError } from './restart-errors.ts';

/** `why`: what the reader waits for, or what ended the last start. */
export type ReaderState =
  | { readonly kind: 'streaming' | 'stopped' }
  /** `sinceMs`: of the start, or of the last part of its initial snapshot. */
  | { readonly kind: 'starting'; readonly sinceMs: number; readonly firstStart?: FirstStartProgress | undefined }
  | { readonly kind: 'waiting' | 'restarting'; readonly why: Error }
  | {
      readonly kind: 'standby';
      readonly why: StandbyError;
      readonly since: Date;
      /** When the other reader's position was seen to move; undefined: not yet. */
      readonly movedAt: Date | undefined;
    };

/** Its beginning stays while the same reader is waited for. */
export function standBy(why: StandbyError, before: ReaderState, now: Date): ReaderState {
  if (before.kind !== 'standby' || before.why.message !== why.message) {
    return { kind: 'standby', why, since: now, movedAt: undefined };
  }
  const hasMoved = before.why.confirmedFlushLsn !== why.confirmedFlushLsn;
  return { kind: 'standby', why, since: before.since, movedAt: hasMoved ? now : before.movedAt };
}

/**
 * For GET /health/pipeline: whom a standby waits for, since when, and whether that one's acknowledged position moves; how far
 * a first start is.
 */
export function describeState(state: ReaderState): Record<string, unknown> {
  if (state.kind === 'starting' && state.firstStart !== undefined) {
    return { firstStart: formatProgress(state.firstStart) };
  }
  if (state.kind !== 'standby') return {};
  const { why, since, movedAt } = state;
  return {
    reason: why.message,
    since: since.toISOString(),
    confirmedFlushLsn: formatLsn(why.confirmedFlushLsn),
    confirmedFlushLsnMovedAt: movedAt?.toISOString() ?? null,
  };
}
