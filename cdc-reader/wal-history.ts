// When the end of the server's WAL passed a position: the lag in seconds of a reader, or of a stage of it. Pure.
// Guarantees: 0 on an idle source, since nothing was written; no clock but ours; never more than the truth, and less by what lies
// between two samples at most.
import type { Lsn } from '#schemas/lsn.ts';

interface WalSample {
  readonly atMs: number;
  readonly walEnd: Lsn;
}

/** Oldest first, each with a further end than the one before. */
export type WalHistory = readonly WalSample[];

/** Half an hour of samples every 2 s; those of a longer lag are further apart, by a five-hundredth of it at most. */
const MOST_SAMPLES = 1_000;

/** @param reachedLsn every position that will be asked about lies behind it */
export function addWalSample(history: WalHistory, sample: WalSample, reachedLsn: Lsn): WalHistory {
  // One that ended further was of another server: a failover, or a restored one.
  const kept = history.filter(({ walEnd }) => walEnd > reachedLsn && walEnd <= sample.walEnd);
  const isNews = sample.walEnd > reachedLsn && kept.at(-1)?.walEnd !== sample.walEnd;
  const next = isNews ? [...kept, sample] : kept;
  return next.length <= MOST_SAMPLES ? next : thinOut(next);
}

function thinOut(history: WalHistory): WalHistory {
  const leastMs = (history.at(-1)!.atMs - history[0]!.atMs) / (MOST_SAMPLES / 2);
  let lastMs = Number.NEGATIVE_INFINITY;
  return history.filter(({ atMs }) => {
    const isKept = atMs - lastMs >= leastMs;
    if (isKept) lastMs = atMs;
    return isKept;
  });
}

/** Since when the server's WAL has ended behind `reachedLsn`; undefined: it does not. */
export function findBehindSince(history: WalHistory, reachedLsn: Lsn): number | undefined {
  return history.find(({ walEnd }) => walEnd > reachedLsn)?.atMs;
}
