// Columns that nobody asked for: skipped as bytes, whatever they hold, and dropped from large rows before those are held.
import { describe, expect, it } from 'vitest';
import { dropUnwanted } from '../../../../cdc-reader/encode/tuple.ts';
import { PgoutputFormatError } from '../../../../cdc-reader/postgres/pgoutput.ts';
import { decodeTuple } from '../../../support/examples/decode-tuple.ts';
import { encodeTuple } from '../../../support/examples/pgoutput-bytes.ts';

const wanted = [true, false, true];
const broken = (value: string): Buffer => {
  const tuple = Buffer.from(encodeTuple(['é', value, 'c']));
  tuple[tuple.indexOf('~')] = 0xff;
  return tuple;
};

describe('columns that nobody asked for', () => {
  it('may hold bytes that are no text', () => {
    const tuple = broken('caf~');
    expect(() => decodeTuple(tuple, 3)).toThrow(PgoutputFormatError);
    expect([...decodeTuple(tuple, 3, wanted)]).toEqual(['é', null, 'c']);
  });

  it('are dropped from a large row, and the others stay', () => {
    const tuple = broken(`~${'x'.repeat(1_000_000)}`);
    const small = dropUnwanted(tuple, wanted);
    expect([...decodeTuple(small, 3)]).toEqual(['é', null, 'c']);
    expect(small.length).toBeLessThan(100);
    expect(small.buffer).not.toBe(tuple.buffer);
  });

  it('leave a small row as it is, and a large one of the contract whole', () => {
    const tuple = encodeTuple(['a', 'b', 'c']);
    expect(dropUnwanted(tuple, wanted)).toBe(tuple);
    const values = ['x'.repeat(100_000), null, undefined, 'é'.repeat(50_000)];
    const large = dropUnwanted(encodeTuple(values), [true, true, true, true]);
    expect(decodeTuple(large, 4)).toEqual(values.map((value) => value ?? null));
  });

  it('do not hide that a large row is torn, or has more bytes than its columns hold', () => {
    const tuple = encodeTuple(['a', 'x'.repeat(100_000), 'c']);
    for (const cut of [1, 6, 30_000]) {
      expect(() => dropUnwanted(tuple.subarray(0, tuple.length - cut), wanted)).toThrow(PgoutputFormatError);
    }
    const more = dropUnwanted(Buffer.concat([tuple, Buffer.of(0x6e)]), wanted);
    expect(() => decodeTuple(more, 3, wanted)).toThrow(PgoutputFormatError);
  });
});
