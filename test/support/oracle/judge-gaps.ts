// Gaps: commits that the live topic does not hold because an operator accepted that after a halt. The orders in them come by
// a replay from the tables, which knows no positions (0/0). Pure: facts in, findings out. An order is excused from the live
// topic only where it can lie in a gap, by the server's own commit times between the last event before the gap and the
// first one after it; whatever else is missing is lost (I1).

import { lsnText, type Published, place, readEvent } from './event.ts';
import { lsnFromText, type OrderFact } from './facts.ts';
import { type Checkpoint, isAdopted } from './judge-checkpoints.ts';
import type { PartitionLog } from './read-topic.ts';
import type { Findings } from './verdict.ts';

export interface Gap {
  readonly fromLsn: bigint;
  readonly toLsn: bigint;
  /** The transaction that was partly published when the gap began. */
  readonly partial: bigint | undefined;
  /** Commit times of the live events on both sides, microseconds since 1970; undefined where there is none. */
  readonly notBefore: bigint | undefined;
  readonly notAfter: bigint | undefined;
}

/** An order of a gap. It was applied after all that precedes the gap: a replay waits for that. */
export type Replayed = Published & { readonly gapFromLsn: bigint };

/** A server takes the time of a commit before its place in the log, and may be kept from going on in between. */
const commitTimeSlack = 1_000_000n;

/** Each adopted range on its own, as it came into the checkpoint. */
export function findGaps(
  checkpoints: readonly Checkpoint[],
  published: ReadonlyMap<number, readonly Published[]>,
): Gap[] {
  const events = [...published.values()].flat().map(({ event }) => event);
  return checkpoints.flatMap((checkpoint, index) => {
    const before = checkpoints[index - 1];
    const [newest, known] = [checkpoint.gaps?.at(-1), before?.gaps?.at(-1)];
    if (newest === undefined || !isAdopted(before, checkpoint)) return [];
    // One that touches the last one has become one with it.
    const begins = newest.fromLsn === known?.fromLsn ? known.toLsn : newest.fromLsn;
    const [fromLsn, toLsn] = [lsnFromText(begins), lsnFromText(newest.toLsn)];
    const partial = before?.partial ? lsnFromText(before.partial.commitLsn) : undefined;
    const earlier = events.filter(({ commitLsn }) => commitLsn < fromLsn);
    const later = events.filter(({ commitLsn }) => commitLsn >= toLsn);
    return [
      {
        fromLsn,
        toLsn,
        partial,
        notBefore: earlier.length === 0 ? undefined : earlier.reduce(furthest).committedAt,
        notAfter: later.length === 0 ? undefined : later.reduce(nearest).committedAt,
      },
    ];
  });
}

type Placed = { readonly commitLsn: bigint; readonly committedAt: bigint };
const furthest = <T extends Placed>(a: T, b: T): T => (b.commitLsn > a.commitLsn ? b : a);
const nearest = <T extends Placed>(a: T, b: T): T => (b.commitLsn < a.commitLsn ? b : a);

/** Whether the order can have committed in this gap. Without commit times, that can't be refuted. */
export function liesIn({ notBefore, notAfter }: Gap, { committedAt }: OrderFact): boolean {
  if (committedAt === undefined) return true;
  if (notBefore !== undefined && committedAt < notBefore - commitTimeSlack) return false;
  return notAfter === undefined || committedAt <= notAfter + commitTimeSlack;
}

/** I5: what a checkpoint calls missing is not in the live topic, but for the beginning of a huge transaction. */
export function judgeGaps(
  gaps: readonly Gap[],
  published: ReadonlyMap<number, readonly Published[]>,
  findings: Findings,
): void {
  findings.count('gaps', gaps.length);
  for (const { fromLsn, toLsn, partial } of gaps) {
    for (const one of [...published.values()].flat()) {
      const { commitLsn } = one.event;
      if (commitLsn < fromLsn || commitLsn >= toLsn || commitLsn === partial) continue;
      findings.violated('I5', `${place(one)}: ${lsnText(commitLsn)} is published and lies in a gap`);
    }
  }
}

/** The events that a replay from the tables published. */
export function fromTables(replayed: readonly PartitionLog[]): Published[] {
  return replayed.flatMap(({ partition, records }) =>
    records.flatMap(({ offset, outcome, value }) => {
      const event = outcome === 'committed' ? readEvent(value) : undefined;
      return event?.commitLsn === 0n ? [{ partition, offset, event }] : [];
    }),
  );
}
