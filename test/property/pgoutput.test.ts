// The parser against bytes nobody meant to send, and against all of Unicode.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PgoutputFormatError, parsePgoutput } from '../../cdc-reader/postgres/pgoutput.ts';
import { decodeTuple, rowOf } from '../support/examples/decode-tuple.ts';
import {
  encodeBegin,
  encodeCommit,
  encodeInsert,
  encodeRelation,
  encodeTuple,
  type TupleValue,
} from '../support/examples/pgoutput-bytes.ts';
import { thorough } from '../support/thorough.ts';

const uint32 = fc.integer({ min: 0, max: 0xffff_ffff });
const uint64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
const micros = fc.bigInt({ min: -(2n ** 62n), max: 2n ** 62n });
/** Every length that a character has in UTF-8; no surrogates, which it has not, and no NUL, which Postgres has not. */
const character = fc
  .oneof(
    { weight: 4, arbitrary: fc.integer({ min: 0x01, max: 0x7f }) },
    fc.integer({ min: 0x80, max: 0x7ff }),
    fc.integer({ min: 0x800, max: 0xd7ff }),
    fc.integer({ min: 0xe000, max: 0xffff }),
    fc.integer({ min: 0x10000, max: 0x10ffff }),
  )
  .map((code) => String.fromCodePoint(code));
const text = fc.array(character, { maxLength: 40 }).map((characters) => characters.join(''));
const name = text.filter((value) => value.length > 0);
const value: fc.Arbitrary<TupleValue> = fc.oneof(
  { weight: 6, arbitrary: text },
  { weight: 1, arbitrary: fc.constant(null) },
  { weight: 1, arbitrary: fc.constant(undefined) },
);
const tuple = fc.array(value, { maxLength: 20 });
const columns = fc.array(fc.record({ name, typeOid: uint32, isKey: fc.boolean() }), { maxLength: 20 });
const message = fc.oneof(
  fc.tuple(uint64, micros, uint32).map((args) => encodeBegin(...args)),
  fc.tuple(uint64, uint64, micros).map((args) => encodeCommit(...args)),
  fc.tuple(uint32, name, name, columns).map((args) => encodeRelation(...args)),
  fc.tuple(uint32, tuple).map((args) => encodeInsert(...args)),
);

/** Parses, and decodes a row as far as its own count of columns goes. */
function readAll(bytes: Buffer): void {
  const parsed = parsePgoutput(bytes);
  if (parsed.kind === 'insert') decodeTuple(rowOf(parsed), rowOf(parsed).readUInt16BE(0));
}

describe('parsing pgoutput', () => {
  it('gives back every digit of BEGIN and COMMIT', () => {
    fc.assert(
      fc.property(uint64, uint64, micros, uint32, (commitLsn, endLsn, committedAt, xid) => {
        expect(parsePgoutput(encodeBegin(commitLsn, committedAt, xid))).toEqual({
          kind: 'begin',
          commitLsn,
          committedAt,
          xid,
        });
        expect(parsePgoutput(encodeCommit(commitLsn, endLsn, committedAt))).toEqual({
          kind: 'commit',
          commitLsn,
          endLsn,
          committedAt,
        });
      }),
    );
  });

  it('gives back relations whatever their names', () => {
    fc.assert(
      fc.property(uint32, name, name, columns, (relationOid, schema, table, cols) => {
        const parsed = parsePgoutput(encodeRelation(relationOid, schema, table, cols));
        expect(parsed).toEqual({ kind: 'relation', relationOid, schema, name: table, columns: cols });
      }),
    );
  });

  it('gives back rows of any Unicode text, NULLs and unchanged values', () => {
    fc.assert(
      fc.property(uint32, tuple, (relationOid, values) => {
        const parsed = parsePgoutput(encodeInsert(relationOid, values));
        expect(parsed).toMatchObject({ kind: 'insert', relationOid });
        expect(parsed.kind === 'insert' && decodeTuple(rowOf(parsed), values.length)).toEqual(
          values.map((value) => value ?? null),
        );
      }),
      { numRuns: thorough(1_000) },
    );
  });

  it('gives back each code point there is', () => {
    for (let from = 1; from <= 0x10ffff; from += 997) {
      let block = '';
      for (let code = from; code < Math.min(from + 997, 0x110000); code++) {
        if (code < 0xd800 || code > 0xdfff) block += String.fromCodePoint(code);
      }
      const values = [block, `${block.slice(0, 2)}`, 'ascii'];
      expect(decodeTuple(encodeTuple(values), 3)).toEqual(values);
    }
  });

  it('refuses every message that was torn, at whatever byte', () => {
    fc.assert(
      fc.property(message, fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), (bytes, at) => {
        const torn = bytes.subarray(0, Math.floor(bytes.length * at));
        expect(() => readAll(torn)).toThrow(PgoutputFormatError);
      }),
      { numRuns: thorough(2_000) },
    );
  });

  it('refuses every message with bytes behind it', () => {
    fc.assert(
      fc.property(message, fc.uint8Array({ minLength: 1, maxLength: 9 }), (bytes, more) => {
        expect(() => readAll(Buffer.concat([bytes, more]))).toThrow(PgoutputFormatError);
      }),
    );
  });

  it('answers random bytes with a message or a PgoutputFormatError, and nothing else', () => {
    const kinds = fc.constantFrom(...'BCDIMORTUY', ...'SEcAbPKrp').map((kind) => Buffer.from(kind));
    const noise = fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes));
    fc.assert(
      fc.property(fc.oneof(noise, fc.tuple(kinds, noise).map(Buffer.concat)), (bytes) => {
        try {
          readAll(bytes);
        } catch (error) {
          expect(error).toBeInstanceOf(PgoutputFormatError);
        }
      }),
      { numRuns: thorough(5_000) },
    );
  });

  it('answers a flipped bit with a message or a PgoutputFormatError, and nothing else', () => {
    fc.assert(
      fc.property(message, fc.nat(), fc.integer({ min: 0, max: 7 }), (bytes, at, bit) => {
        const changed = Buffer.from(bytes);
        changed[at % changed.length]! ^= 1 << bit;
        try {
          readAll(changed);
        } catch (error) {
          expect(error).toBeInstanceOf(PgoutputFormatError);
        }
      }),
      { numRuns: thorough(2_000) },
    );
  });
});
