import { expect, test } from 'vitest';
import type { Lsn } from '#schemas/lsn.ts';
import { formatLsn, LSN_ZERO, maxLsn, parseLsn, toLsn } from '#schemas/lsn.ts';
import { comparePositions, formatPosition, parsePosition } from '#schemas/position.ts';

test.each([
  ['0/0', 0n],
  ['0/16B3748', 0x16b3748n],
  ['16/B374D848', 0x16_b374_d848n],
  ['FFFFFFFF/FFFFFFFF', 2n ** 64n - 1n],
  ['1/0', 2n ** 32n],
])('%s is read and printed as Postgres does', (text, value) => {
  expect(parseLsn(text)).toBe(value);
  expect(formatLsn(value as Lsn)).toBe(text);
});

test('lower case and leading zeros are read, and printed in the canonical form', () => {
  expect(formatLsn(parseLsn('00000000/016b3748'))).toBe('0/16B3748');
});

test.each(['', '0', '0/', '/0', '0/0/0', '0/123456789', 'G/0', '0x1/0', ' 0/0', '0/0 ', '-1/0', '0/0\n', '1:0'])(
  '%j is refused as an LSN, with the expected form',
  (text) => {
    expect(() => parseLsn(text)).toThrow(RangeError);
    expect(() => parseLsn(text)).toThrow('expected X/Y in hex, like 0/16B3748');
  },
);

test('a number outside 64 bits is no LSN', () => {
  expect(toLsn(2n ** 64n - 1n)).toBe(2n ** 64n - 1n);
  expect(() => toLsn(2n ** 64n)).toThrow(RangeError);
  expect(() => toLsn(-1n)).toThrow(RangeError);
});

test('the later of two LSNs is found beyond 2^53, where a double can not tell them apart', () => {
  const a = toLsn(2n ** 63n);
  const b = toLsn(2n ** 63n + 1n);
  expect(maxLsn(a, b)).toBe(b);
  expect(maxLsn(b, a)).toBe(b);
  expect(maxLsn(LSN_ZERO, LSN_ZERO)).toBe(LSN_ZERO);
});

test('positions are ordered by timeline, then commit, then ordinal', () => {
  const sorted = ['1:0/A:0', '1:0/A:1', '1:0/A:10', '1:0/B:0', '1:1/0:0', '2:0/1:0', '10:0/1:0'].map(parsePosition);
  const shuffled = [3, 6, 1, 5, 0, 4, 2].map((index) => sorted[index]!);
  expect(shuffled.sort(comparePositions)).toEqual(sorted);
  expect(comparePositions(sorted[0]!, { ...sorted[0]! })).toBe(0);
});

test('a position is printed and read back', () => {
  const position = { timeline: 3, commitLsn: parseLsn('0/16B3748'), ordinal: 12 };
  expect(formatPosition(position)).toBe('3:0/16B3748:12');
  expect(parsePosition('3:0/16B3748:12')).toEqual(position);
});

test.each(['', '1', '1:0/A', '1:0/A:', 'x:0/A:0', '1:0/A:-1', '1:0/A:0:0', '1 :0/A:0'])(
  '%j is refused as a position, with the expected form',
  (text) => {
    expect(() => parsePosition(text)).toThrow('expected timeline:commitLsn:ordinal, like 1:0/16B3748:0');
  },
);
