// Since when something behind a position of a log is pending: what the end of the log was, and when. A lag in seconds by the
// age of the last thing done is wrong on an idle source, where that age grows with nothing pending. Pure: the clock is an
// argument. Guarantees: a bounded number of samples; an answer is late by one interval between samples at most, unless the
// position was passed before the first sample, and then it says so.

/** An hour of samples every five seconds is thinned out twice; what is old needs no exact time. */
const MOST_SAMPLES = 360;

interface Sample {
  readonly end: bigint;
  readonly atMs: number;
}

export class PositionClock {
  #samples: Sample[] = [];

  /** The end of the log. One before the last is an answer that came late; of another log it needs another clock. */
  seen(end: bigint, atMs: number): void {
    const last = this.#samples.at(-1);
    if (last !== undefined && end <= last.end) return;
    this.#samples.push({ end, atMs });
    // The first two answer for what stands still.
    if (this.#samples.length > MOST_SAMPLES) this.#samples = this.#samples.filter((_, at) => at < 2 || at % 2 === 0);
  }

  /**
   * When the end was first seen beyond `position`; undefined while it is not. `isExact`: the end was seen at or before it.
   * What lies before `position` is forgotten: positions go forward.
   */
  passed(position: bigint): { readonly atMs: number; readonly isExact: boolean } | undefined {
    const index = this.#samples.findIndex(({ end }) => end > position);
    if (index === -1) {
      this.#samples = this.#samples.slice(-1);
      return undefined;
    }
    this.#samples = this.#samples.slice(Math.max(0, index - 1));
    return { atMs: this.#samples[Math.min(index, 1)]!.atMs, isExact: index > 0 };
  }
}
