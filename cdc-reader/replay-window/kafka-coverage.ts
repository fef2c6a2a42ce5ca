// From where on the live topic has every order: what can be replayed from it. Pure. Guarantees: it never claims a position
// that the topic may lack. Retention cuts each partition by itself, and within a transaction; a topic that was recreated
// is shorter than its checkpoint says; and an operator may have accepted gaps. Reading the topic is live-topic.ts's.
import type { Checkpoint, LsnRange } from '#schemas/checkpoint.ts';
import { LSN_ZERO, type Lsn, maxLsn, toLsn } from '#schemas/lsn.ts';

/** Every order committed at `oldestLsn` or later, up to the checkpoint's `throughLsn`, gaps aside; null: nothing is sure. */
export interface KafkaCoverage {
  readonly oldestLsn: Lsn | null;
}

/** The beginning of one partition, and its end, which counts control records too. */
export interface PartitionHead {
  readonly partition: number;
  readonly earliest: bigint;
  readonly end: bigint;
  /** Of the first record; null when there is none, or it was not read because nothing was cut. */
  readonly firstCommitLsn: Lsn | null;
}

/** The worst of the partitions that the checkpoint uses counts. */
export function findOldestCovered(
  checkpoint: Pick<Checkpoint, 'partitions' | 'nextOffsets' | 'throughLsn'>,
  heads: readonly PartitionHead[],
): Lsn | null {
  const byPartition = new Map(heads.map((head) => [head.partition, head]));
  let oldest: Lsn = LSN_ZERO;
  for (let partition = 0; partition < checkpoint.partitions; partition++) {
    const head = byPartition.get(partition);
    // A partition that is missing, or shorter than it was, is not the one that was published to (I11).
    if (head === undefined || head.end < (checkpoint.nextOffsets[partition] ?? 0n)) return null;
    if (head.earliest === 0n) continue;
    // Of the first transaction that is left, earlier records may be gone.
    oldest = maxLsn(oldest, head.firstCommitLsn === null ? checkpoint.throughLsn : toLsn(head.firstCommitLsn + 1n));
  }
  return oldest;
}

/** Whether the live topic has every order of the range. */
export function coversRange({ oldestLsn }: KafkaCoverage, gaps: readonly LsnRange[], range: LsnRange): boolean {
  if (oldestLsn === null || range.fromLsn < oldestLsn) return false;
  return !gaps.some((gap) => gap.fromLsn < range.toLsn && gap.toLsn > range.fromLsn);
}

/** What the live topic has every order of up to `throughLsn`, gaps cut out, oldest first; none of them is empty. */
export function findCoveredRanges(
  { oldestLsn }: KafkaCoverage,
  { gaps, throughLsn }: Pick<Checkpoint, 'gaps' | 'throughLsn'>,
): LsnRange[] {
  if (oldestLsn === null) return [];
  const ranges: LsnRange[] = [];
  let fromLsn = oldestLsn;
  for (const gap of gaps.toSorted((a, b) => (a.fromLsn < b.fromLsn ? -1 : 1))) {
    if (gap.fromLsn > fromLsn) ranges.push({ fromLsn, toLsn: gap.fromLsn < throughLsn ? gap.fromLsn : throughLsn });
    fromLsn = maxLsn(fromLsn, gap.toLsn);
  }
  if (fromLsn < throughLsn) ranges.push({ fromLsn, toLsn: throughLsn });
  return ranges.filter((range) => range.fromLsn < range.toLsn);
}
