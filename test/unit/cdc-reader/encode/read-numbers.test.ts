// Numbers and times, digit by digit, against what BigInt and Date make of the same text.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseTimestampMicros, readInteger } from '../../../../cdc-reader/encode/read-numbers.ts';

const read = (text: string) => {
  const bytes = Buffer.from(`x${text}y`);
  return readInteger(bytes, 1, bytes.length - 1, 'orders.total_cents');
};

describe('reading an integer', () => {
  it('gives every 64-bit number, whatever its length', () => {
    const longs = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
    const small = fc.bigInt({ min: -1_000_000n, max: 1_000_000n });
    fc.assert(
      fc.property(fc.oneof(longs, small), (value) => {
        expect(BigInt(read(String(value)))).toBe(value);
      }),
      { examples: [[-(2n ** 63n)], [2n ** 63n - 1n], [999_999_999_999_999n], [1_000_000_000_000_000n], [0n]] },
    );
  });

  it.each(['', '-', '1.5', 'x', ' 1', '1 ', '+1', '1e3', '9223372036854775808', '-9223372036854775809'])(
    'refuses %j and names the column',
    (text) => {
      expect(() => read(text)).toThrow(
        expect.objectContaining({ code: 'ROW_NOT_PUBLISHABLE', details: { column: 'orders.total_cents' } }),
      );
    },
  );
});

describe('reading a time', () => {
  it.each([
    ['2026-11-20 10:00:00+00', BigInt(Date.UTC(2026, 10, 20, 10)) * 1_000n],
    ['2026-11-20 10:00:00.1+00', BigInt(Date.UTC(2026, 10, 20, 10)) * 1_000n + 100_000n],
    ['2026-11-20 10:00:00.000001+00', BigInt(Date.UTC(2026, 10, 20, 10)) * 1_000n + 1n],
    ['1969-12-31 23:59:59.999999+00', -1n],
    ['10000-01-01 00:00:00+00', BigInt(Date.UTC(10000, 0, 1)) * 1_000n],
    ['294276-12-31 23:59:59.999999+00', 9_224_318_015_999_999_999n],
  ])('gives %s to the microsecond', (text, micros) => {
    expect(parseTimestampMicros(text)).toBe(micros);
  });

  it('gives what Date gives, for every day and microsecond of the calendar', () => {
    const times = fc.integer({ min: Date.UTC(1000, 0, 1), max: Date.UTC(9999, 11, 31) });
    fc.assert(
      fc.property(times, fc.integer({ min: 0, max: 999 }), (ms, micros) => {
        const text = new Date(ms)
          .toISOString()
          .replace('T', ' ')
          .replace('Z', `${String(micros).padStart(3, '0')}+00`);
        expect(parseTimestampMicros(text)).toBe(BigInt(ms) * 1000n + BigInt(micros));
      }),
    );
  });

  it.each([
    null,
    'infinity',
    '-infinity',
    '0044-03-15 12:00:00+00 BC',
    '2026-11-20 10:00:00+02',
    '2026-11-20 10:00:00.+00',
    '2026-11-20 10:00:00.1234567+00',
    '2026-11-20 10:00:00',
    '2026-11-20T10:00:00+00',
    '',
  ])('halts for %j and names the column', (text) => {
    expect(() => parseTimestampMicros(text)).toThrow(
      expect.objectContaining({ code: 'ROW_NOT_PUBLISHABLE', details: { column: 'orders.placed_at' } }),
    );
  });
});
