import fc from 'fast-check';
import { expect, test } from 'vitest';
import { formatLsn, parseLsn, toLsn } from '#schemas/lsn.ts';
import { comparePositions, formatPosition, parsePosition } from '#schemas/position.ts';

const lsn = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map(toLsn);
const int = fc.nat(2 ** 31 - 1);
const position = fc.record({ timeline: int, commitLsn: lsn, ordinal: int });

test('every LSN survives its text form', () => {
  fc.assert(
    fc.property(lsn, (value) => {
      expect(parseLsn(formatLsn(value))).toBe(value);
    }),
  );
});

test('every position survives its text form', () => {
  fc.assert(
    fc.property(position, (value) => {
      expect(parsePosition(formatPosition(value))).toEqual(value);
    }),
  );
});

test('the order of positions is total: antisymmetric, transitive, and zero only for equal ones', () => {
  fc.assert(
    fc.property(position, position, position, (a, b, c) => {
      expect(Math.sign(comparePositions(a, b))).toBe(-Math.sign(comparePositions(b, a)) + 0);
      if (comparePositions(a, b) <= 0 && comparePositions(b, c) <= 0) expect(comparePositions(a, c)).toBeLessThan(1);
      expect(comparePositions(a, b) === 0).toBe(formatPosition(a) === formatPosition(b));
    }),
  );
});
