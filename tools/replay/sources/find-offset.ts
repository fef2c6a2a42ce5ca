// Where in a partition of the live topic a range begins: a binary search on the position in the events, which increase
// in a partition (I4). Not by time: record times are the reader's clock, and a replayed backlog has new ones. Records
// have gaps (control and aborted ones), so a probe looks at the next event from an offset on. Pure but for the probe.

import type { Lsn } from '#schemas/lsn.ts';

export interface FoundEvent {
  readonly offset: bigint;
  readonly generation: number;
  readonly commitLsn: Lsn;
}

/** The first event at or after `fromOffset` and before `untilOffset`; null when there is none. */
export type Probe = (fromOffset: bigint, untilOffset: bigint) => Promise<FoundEvent | null>;

/**
 * The offset in [earliest, end] before which every event is committed before `target`, and from which on none is.
 * Events of older generations come before all of `target`'s.
 */
export async function findOffset(
  probe: Probe,
  { earliest, end }: { readonly earliest: bigint; readonly end: bigint },
  target: { readonly generation: number; readonly commitLsn: Lsn },
): Promise<bigint> {
  let low = earliest;
  let high = end;
  while (low < high) {
    const middle = (low + high) / 2n;
    const event = await probe(middle, high);
    if (event !== null && isBefore(event, target)) low = event.offset + 1n;
    // Nothing lies between the middle and the event that was found.
    else high = middle;
  }
  return low;
}

function isBefore(event: FoundEvent, target: { readonly generation: number; readonly commitLsn: Lsn }): boolean {
  if (event.generation !== target.generation) return event.generation < target.generation;
  return event.commitLsn < target.commitLsn;
}
