// Since when something is pending, from samples of a log's end.
import { describe, expect, it } from 'vitest';
import { PositionClock } from '../../../../cart-sink/consume/position-clock.ts';

const clockOf = (...samples: readonly (readonly [end: bigint, atMs: number])[]): PositionClock => {
  const clock = new PositionClock();
  for (const [end, atMs] of samples) clock.seen(end, atMs);
  return clock;
};

describe('the clock of positions', () => {
  it('knows nothing pending before a sample, at the end and beyond it', () => {
    expect(clockOf().passed(0n)).toBeUndefined();
    expect(clockOf([5n, 1]).passed(5n)).toBeUndefined();
    expect(clockOf([5n, 1]).passed(9n)).toBeUndefined();
  });

  it('answers with the first sample beyond the position, however long the source was idle before', () => {
    const clock = clockOf([5n, 1_000], [5n, 3_600_000], [6n, 3_601_000], [9n, 3_602_000]);
    expect(clock.passed(5n)).toEqual({ atMs: 3_601_000, isExact: true });
    expect(clock.passed(6n)).toEqual({ atMs: 3_602_000, isExact: true });
    expect(clock.passed(9n)).toBeUndefined();
    clock.seen(10n, 3_603_000);
    expect(clock.passed(9n)).toEqual({ atMs: 3_603_000, isExact: true });
  });

  it('gives the same answer again while nothing moves', () => {
    const clock = clockOf([5n, 1], [6n, 2], [7n, 3]);
    for (let times = 0; times < 3; times += 1) expect(clock.passed(5n)).toEqual({ atMs: 2, isExact: true });
  });

  it('says that the position was passed before the first sample', () => {
    expect(clockOf([9n, 7]).passed(5n)).toEqual({ atMs: 7, isExact: false });
  });

  it('does not go back for an answer that came late', () => {
    expect(clockOf([4n, 1], [9n, 2], [7n, 3]).passed(5n)).toEqual({ atMs: 2, isExact: true });
  });

  it('keeps a bounded number of samples, and the time of the oldest pending one', () => {
    const clock = clockOf([0n, 0]);
    for (let at = 1; at <= 100_000; at += 1) clock.seen(BigInt(at), at);
    expect(clock.passed(0n)!.atMs).toBeLessThan(2_000);
    expect(clock.passed(0n)!.isExact).toBe(true);
  });
});
