// The ranges of commits that the live topic does not hold and an operator has accepted. Pure. A range is [fromLsn, toLsn) of
// commit positions, as in the checkpoint's `gaps`.
import type { Checkpoint, LsnRange } from '#schemas/checkpoint.ts';
import { LSN_ZERO, type Lsn, maxLsn } from '#schemas/lsn.ts';
import type { TimelineSwitch } from '#schemas/timeline.ts';
import type { ReaderFacts } from './plan-reader.ts';

/** The gaps with one more, sorted; those that touch or overlap become one, an empty one adds nothing. */
export function addGap(gaps: readonly LsnRange[], gap: LsnRange): LsnRange[] {
  const sorted = [...gaps, gap]
    .filter(({ fromLsn, toLsn }) => fromLsn < toLsn)
    .sort((a, b) => (a.fromLsn < b.fromLsn ? -1 : a.fromLsn > b.fromLsn ? 1 : 0));
  const merged: LsnRange[] = [];
  for (const next of sorted) {
    const last = merged.at(-1);
    if (last === undefined || next.fromLsn > last.toLsn) merged.push(next);
    else merged[merged.length - 1] = { fromLsn: last.fromLsn, toLsn: maxLsn(last.toLsn, next.toLsn) };
  }
  return merged;
}

/** How far one consumer group had applied the live topic: in how many partitions, and by the one furthest back. */
export interface GroupPosition {
  readonly positions: number;
  readonly timelines: readonly (number | null)[];
  readonly lowestLsn: Lsn | null;
}

/**
 * With a new generation, the ranges that hold every order which the sinks have not applied. Smaller than the whole gap if
 * every partition has a position that was applied on the server's own timeline.
 */
export function findUnapplied(
  { checkpoint, identity, lastOrderExists }: ReaderFacts,
  groups: readonly GroupPosition[],
  { gaps, throughLsn }: Checkpoint,
): readonly LsnRange[] {
  if (checkpoint === null || lastOrderExists !== true || groups.length === 0) return gaps;
  let fromLsn = checkpoint.throughLsn;
  for (const { positions, timelines, lowestLsn } of groups) {
    const isOnTimeline = timelines.every((timeline) => timeline === identity.timeline);
    if (positions < checkpoint.partitions || !isOnTimeline || lowestLsn === null) return gaps;
    if (lowestLsn < fromLsn) fromLsn = lowestLsn;
  }
  return addGap(checkpoint.gaps, { fromLsn, toLsn: throughLsn });
}

/** The timelines of a server. */
export interface Descent {
  readonly timeline: number;
  readonly history: readonly TimelineSwitch[];
}

/** Up to where two servers of one cluster have the same WAL; null if neither has left the other's timeline. */
export function findDivergence(a: Descent, b: Descent): Lsn | null {
  const [stepsA, stepsB] = [stepsOf(a), stepsOf(b)];
  for (let index = 0; ; index++) {
    const [stepA, stepB] = [stepsA[index], stepsB[index]];
    const before = stepsA[index - 1]?.endsAtLsn ?? LSN_ZERO;
    if (stepA === undefined || stepB === undefined || stepA.timeline !== stepB.timeline) return before;
    if (stepA.endsAtLsn === stepB.endsAtLsn) {
      if (stepA.endsAtLsn === null) return null;
      continue;
    }
    if (stepA.endsAtLsn === null) return stepB.endsAtLsn;
    if (stepB.endsAtLsn === null) return stepA.endsAtLsn;
    return stepA.endsAtLsn < stepB.endsAtLsn ? stepA.endsAtLsn : stepB.endsAtLsn;
  }
}

function stepsOf({ timeline, history }: Descent): { timeline: number; endsAtLsn: Lsn | null }[] {
  return [...history, { timeline, endsAtLsn: null }];
}
