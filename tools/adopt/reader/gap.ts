// The ranges of commits that the live topic does not hold, accepted by an operator, and the command that closes one.
// Pure. A range is [fromLsn, toLsn) of commit positions, as in the checkpoint's `gaps`.

import type { LsnRange } from '#schemas/checkpoint.ts';
import { formatLsn, LSN_ZERO, type Lsn, maxLsn } from '#schemas/lsn.ts';
import type { TimelineSwitch } from '#schemas/timeline.ts';

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

const FROM_TABLES = 'npm run replay -- --source tables';

/**
 * The commands that apply what lies in the gaps, the surest last: from the WAL where the window, which begins at
 * `windowFromLsn` (null: there is none), covers all of them, and from the tables.
 */
export function formatRepairs(gaps: readonly LsnRange[], windowFromLsn: Lsn | null): string[] {
  const [first, last] = [gaps.at(0), gaps.at(-1)];
  if (first === undefined || last === undefined || windowFromLsn === null || windowFromLsn > first.fromLsn) {
    return [FROM_TABLES];
  }
  const range = `--from-lsn ${formatLsn(first.fromLsn)} --to-lsn ${formatLsn(last.toLsn)}`;
  return [`npm run replay -- ${range}`, FROM_TABLES];
}

/** A server's line of descent. */
export interface Descent {
  readonly timeline: number;
  readonly history: readonly TimelineSwitch[];
}

/** Up to where two servers of one cluster have the same log; null when neither has left the other's line. */
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
