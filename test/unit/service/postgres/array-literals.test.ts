// Arrays as text: what `pg` itself makes of the same values, for any text.
import fc from 'fast-check';
import pg from 'pg';
import { describe, expect, it } from 'vitest';
import { plainArray, textArray } from '#service/postgres/array-literals.ts';

const parse = pg.types.getTypeParser(1009 as never) as (text: string) => (string | null)[]; // text[]

describe('an array as text', () => {
  it('holds any texts, NULL as a word among them', () => {
    const property = fc.property(fc.array(fc.string({ unit: 'binary' })), (texts) => {
      expect(parse(textArray(texts))).toEqual(texts);
    });
    fc.assert(property);
    expect(parse(textArray(['', 'null', 'NULL', 'a"b\\c', '{x,y}']))).toEqual(['', 'null', 'NULL', 'a"b\\c', '{x,y}']);
  });

  it('holds numbers, ids and nulls', () => {
    expect(plainArray([1, -2, 3n])).toBe('{1,-2,3}');
    expect(plainArray(['16/B374D848', null])).toBe('{16/B374D848,NULL}');
    expect(plainArray([])).toBe('{}');
  });
});
