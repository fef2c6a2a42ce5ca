// How far the initial snapshot of a first start is, how fast, and how long it still takes. Pure: the clock is an argument. The
// total is Postgres's estimate for the table, and absent where ANALYZE has never run; the rate is that of the last minute, since
// orders that an earlier attempt published pass much faster than others.

export interface FirstStartProgress {
  /** Orders of the snapshot that are published, or were by an earlier attempt. */
  readonly done: number;
  /** Of these, published by an earlier attempt. */
  readonly before: number;
  /** Null: unknown. Never less than what is done. */
  readonly estimatedTotal: number | null;
  readonly ordersPerSecond: number;
  readonly secondsLeft: number | null;
}

const RATE_OVER_MS = 60_000;
const SAMPLE_EVERY_MS = 1_000;

export function createProgress({ estimatedTotal, nowMs }: { estimatedTotal: number | null; nowMs: () => number }) {
  let done = 0;
  let before = 0;
  const samples = [{ atMs: nowMs(), done: 0 }];
  return {
    /** So many orders more, of which `published` by this attempt. */
    add(orders: number, published: number): FirstStartProgress {
      done += orders;
      before += orders - published;
      const atMs = nowMs();
      if (atMs - samples.at(-1)!.atMs >= SAMPLE_EVERY_MS) samples.push({ atMs, done });
      while (samples.length > 1 && atMs - samples[1]!.atMs >= RATE_OVER_MS) samples.shift();
      const [oldest] = samples;
      const seconds = (atMs - oldest!.atMs) / 1_000;
      const ordersPerSecond = seconds > 0 ? (done - oldest!.done) / seconds : 0;
      const total = estimatedTotal === null ? null : Math.max(estimatedTotal, done);
      const secondsLeft = total === null || ordersPerSecond === 0 ? null : (total - done) / ordersPerSecond;
      return { done, before, estimatedTotal: total, ordersPerSecond, secondsLeft };
    },
  };
}

/** For log, health and people: whole numbers. */
export function formatProgress(progress: FirstStartProgress): Record<string, number | null> {
  const round = (value: number | null) => (value === null ? null : Math.round(value));
  return {
    done: progress.done,
    before: progress.before,
    estimatedTotal: round(progress.estimatedTotal),
    ordersPerSecond: round(progress.ordersPerSecond),
    secondsLeft: round(progress.secondsLeft),
  };
}
