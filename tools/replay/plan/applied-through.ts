// Up to which position every sink partition has applied everything: where a range ends by default, and the furthest
// that may be asked for. Pure. The checkpoint must have been read before the ends of the partitions: what it covers is
// then in them, and what a partition has not applied is in `firstUnapplied`.

import { LSN_ZERO, type Lsn } from '#schemas/lsn.ts';

/** The first event of a live partition that its sink has not applied. */
export interface UnappliedEvent {
  readonly partition: number;
  readonly generation: number;
  readonly commitLsn: Lsn;
}

/**
 * Exclusive: every order with a smaller commit position is applied. Within a partition positions increase (I4), so that
 * the first unapplied event of each bounds it; an event of an older generation says nothing about positions of this one.
 */
export function appliedThrough(
  checkpoint: { readonly throughLsn: Lsn; readonly generation: number },
  firstUnapplied: readonly UnappliedEvent[],
): Lsn {
  let throughLsn = checkpoint.throughLsn;
  for (const { generation, commitLsn } of firstUnapplied) {
    const bound = generation < checkpoint.generation ? LSN_ZERO : commitLsn;
    if (bound < throughLsn) throughLsn = bound;
  }
  return throughLsn;
}
