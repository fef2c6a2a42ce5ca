// When the end of the WAL passed what the reader has received.
import { describe, expect, it } from 'vitest';
import { toLsn } from '#schemas/lsn.ts';
import { addWalSample, findBehindSince, type WalHistory } from '../../../cdc-reader/wal-history.ts';

const at = (index: number) => 2_000 * index;

/** A sample every 2 s: the end of the WAL, and what the reader had received when it was taken. */
const follow = (steps: readonly (readonly [walEnd: number, reached: number])[]): WalHistory =>
  steps.reduce<WalHistory>(
    (history, [walEnd, reached], index) =>
      addWalSample(history, { atMs: at(index), walEnd: toLsn(BigInt(walEnd)) }, toLsn(BigInt(reached))),
    [],
  );
/** Like `200<100 300<100`: the WAL ends at 200, received is 100. */
const parseSteps = (text: string) =>
  text
    .split(' ')
    .filter((step) => step !== '')
    .map((step) => step.split('<').map(Number) as [number, number]);

describe('the time at which the end of the WAL passed the position of the reader', () => {
  it.each<[what: string, steps: string, reached: number, since: number | undefined]>([
    ['nothing was sampled', '', 100, undefined],
    ['nothing is written', '100<100 100<100 100<100', 100, undefined],
    ['only the server writes, and all is received', '100<100 160<160 220<220', 220, undefined],
    ['the reader is ahead of the last sample', '100<100 160<100', 180, undefined],
    ['nothing is received of what is written', '100<100 200<100 300<100', 100, at(1)],
    ['nothing more is written either', '100<100 200<100 200<100 200<100', 100, at(1)],
    ['it is behind from the start', '500<100 600<100', 100, at(0)],
    ['it catches up in part', '100<100 200<100 300<100 400<100', 250, at(2)],
    ['it stands exactly at an end', '100<100 200<100 300<100', 200, at(2)],
    ['it has caught up', '100<100 200<100 300<100', 300, undefined],
    ['another server takes over whose WAL ends earlier', '100<100 300<100 150<100', 100, at(2)],
    ['that one has nothing that is not received', '100<100 300<100 150<150', 150, undefined],
  ])('when %s', (_what, steps, reached, since) => {
    expect(findBehindSince(follow(parseSteps(steps)), toLsn(BigInt(reached)))).toBe(since);
  });

  it('is kept over a day within bounds, exactly for a reader that stands and nearly for one that catches up', () => {
    const day = follow(Array.from({ length: 43_200 }, (_, index) => [100 + index, 100] as const));
    expect(day.length).toBeLessThanOrEqual(1_000);
    expect(findBehindSince(day, toLsn(100n))).toBe(at(1));
    // Half the way: within a hundredth of the day.
    const half = findBehindSince(day, toLsn(100n + 21_600n))!;
    expect(Math.abs(half - at(21_600))).toBeLessThan(at(432));
  });
});
