// Quantiles of a Prometheus histogram between two readings of it. Pure. As in PromQL's histogram_quantile a quantile is interpolated
// within its bucket, so it is as exact as the buckets are; the largest value is known as the bound of its bucket.
import type { Samples } from './prometheus-text.ts';

export interface Quantiles {
  readonly count: number;
  readonly p50: number;
  readonly p99: number;
  /** At most this; null: beyond the largest bound. */
  readonly max: number | null;
}

/** Cumulative counts by upper bound, of all services that export the histogram. */
export type Buckets = ReadonlyMap<number, number>;

export function readBuckets(all: readonly Samples[], name: string): Buckets {
  const buckets = new Map<number, number>();
  for (const samples of all) {
    for (const { labels, value } of samples.get(`${name}_bucket`) ?? []) {
      const bound = Number(labels.le === '+Inf' ? Number.POSITIVE_INFINITY : labels.le);
      buckets.set(bound, (buckets.get(bound) ?? 0) + value);
    }
  }
  return buckets;
}

/** Of what came between `before` and `after`; null where nothing did, or a service was restarted in between. */
export function findQuantiles(before: Buckets, after: Buckets): Quantiles | null {
  const bounds = [...after.keys()].toSorted((a, b) => a - b);
  const counts = bounds.map((bound) => after.get(bound)! - (before.get(bound) ?? 0));
  const count = counts.at(-1) ?? 0;
  if (count <= 0 || counts.some((value) => value < 0)) return null;
  const quantile = (share: number): number => {
    const rank = share * count;
    const index = counts.findIndex((value) => value >= rank);
    const [low, below] = index === 0 ? [0, 0] : [bounds[index - 1]!, counts[index - 1]!];
    const high = bounds[index]!;
    if (!Number.isFinite(high)) return low;
    return low + ((high - low) * (rank - below)) / Math.max(1, counts[index]! - below);
  };
  const max = bounds[counts.indexOf(count)]!;
  return { count, p50: quantile(0.5), p99: quantile(0.99), max: Number.isFinite(max) ? max : null };
}
