import { describe, expect, it } from 'vitest';
import { createProgress, formatProgress } from '../../../../../cdc-reader/startup/first-start/progress.ts';

describe('the progress of a first start', () => {
  it('tells what is done, how fast, and how long the rest takes', () => {
    let nowMs = 5_000;
    const progress = createProgress({ estimatedTotal: 50_000, nowMs: () => nowMs });
    expect(progress.add(0, 0)).toMatchObject({ done: 0, ordersPerSecond: 0, secondsLeft: null });
    nowMs += 2_000;
    expect(progress.add(10_000, 10_000)).toEqual({
      done: 10_000,
      before: 0,
      estimatedTotal: 50_000,
      ordersPerSecond: 5_000,
      secondsLeft: 8,
    });
  });

  it('has the rate of the last minute: orders of an earlier attempt pass faster', () => {
    let nowMs = 0;
    const progress = createProgress({ estimatedTotal: 2_000_000, nowMs: () => nowMs });
    nowMs += 10_000;
    progress.add(1_000_000, 0);
    for (let second = 0; second < 90; second += 1) {
      nowMs += 1_000;
      progress.add(1_000, 1_000);
    }
    const { before, ordersPerSecond, secondsLeft } = progress.add(0, 0);
    expect({ before, ordersPerSecond }).toEqual({ before: 1_000_000, ordersPerSecond: 1_000 });
    expect(secondsLeft).toBe(910);
  });

  it('never has less in all than is done, and no total without an estimate', () => {
    let nowMs = 0;
    const late = createProgress({ estimatedTotal: 10, nowMs: () => nowMs });
    const unknown = createProgress({ estimatedTotal: null, nowMs: () => nowMs });
    nowMs += 1_500;
    expect(late.add(40, 40)).toMatchObject({ estimatedTotal: 40, secondsLeft: 0 });
    expect(formatProgress(unknown.add(100, 40))).toEqual({
      done: 100,
      before: 60,
      estimatedTotal: null,
      ordersPerSecond: 67,
      secondsLeft: null,
    });
  });
});
