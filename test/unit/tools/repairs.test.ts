// Which replay commands close a gap, and what counts as a lost slot.
import { describe, expect, it } from 'vitest';
import { type Lsn, toLsn } from '#schemas/lsn.ts';
import { formatRepairs } from '../../../tools/repairs.ts';

const at = (value: number): Lsn => toLsn(BigInt(value));

describe('gaps', () => {
  const gap = (from: number, to: number) => ({ fromLsn: at(from), toLsn: at(to) });
  it.each([
    ['from the tables where no WAL is kept', [gap(16, 32)], null, ['--source tables']],
    ['from the tables where the window begins later', [gap(16, 32)], 17, ['--source tables']],
    [
      'from the WAL where the window covers them',
      [gap(16, 32), gap(48, 64)],
      16,
      ['--from-lsn 0/10 --to-lsn 0/40', '--source tables'],
    ],
    ['from the tables where there is none to speak of', [], 1, ['--source tables']],
  ])('are closed %s', (_, gaps, window, commands) => {
    const found = formatRepairs(gaps, window === null ? null : at(window));
    expect(found).toEqual(commands.map((one) => `npm run replay -- ${one}`));
  });
});
