import avro from 'avsc';
import { describe, expect, test } from 'vitest';
import { parseAvroSchema } from '#schemas/avro/avro-type.ts';
import { createCatalogue } from '#schemas/catalogue.ts';

const record = (fields: object[]) => JSON.stringify({ type: 'record', name: 'R', namespace: 'n', fields });

describe('longs', () => {
  const forms = ['long', { type: 'long' }, { type: 'long', logicalType: 'timestamp-micros' }];
  const nested = [...forms, { type: 'array', items: 'long' }, ['null', 'long'], { type: 'map', values: 'long' }];

  test.each(forms)('%j is a bigint, exact to the last bit', (form) => {
    const type = parseAvroSchema(record([{ name: 'value', type: form }]));
    for (const value of [0n, -1n, 1n, 63n, 64n, -64n, -65n, 2n ** 31n, 2n ** 53n + 1n, 2n ** 63n - 1n, -(2n ** 63n)]) {
      expect(type.fromBuffer(type.toBuffer({ value })).value).toBe(value);
    }
  });

  test.each(nested)('no number is taken for %j', (form) => {
    const type = parseAvroSchema(record([{ name: 'value', type: form }]));
    for (const value of [1, [1], { a: 1 }]) expect(type.isValid({ value })).toBe(false);
  });

  test('every power of two and its neighbours has the bytes that plain avsc writes while it can', () => {
    const ours = parseAvroSchema('"long"');
    const plain = avro.Type.forSchema('long');
    for (let bits = 0; bits <= 51; bits++) {
      for (const near of [-1, 0, 1]) {
        for (const value of [2 ** bits + near, -(2 ** bits) + near]) {
          expect(ours.toBuffer(BigInt(value)).toString('hex'), `${value}`).toBe(plain.toBuffer(value).toString('hex'));
        }
      }
    }
  });

  test('every power of two up to 2^63 and its neighbours is read back', () => {
    const type = parseAvroSchema('"long"');
    for (let bits = 0n; bits <= 63n; bits++) {
      for (const near of [-1n, 0n, 1n]) {
        for (const value of [2n ** bits + near, -(2n ** bits) + near].filter((n) => BigInt.asIntN(64, n) === n)) {
          expect(type.fromBuffer(type.toBuffer(value))).toBe(value);
        }
      }
    }
  });

  test('a varint of more than 64 bits is refused', () => {
    const type = parseAvroSchema('"long"');
    expect(type.fromBuffer(Buffer.from('ffffffffffffffffff01', 'hex'))).toBe(-(2n ** 63n));
    expect(() => type.fromBuffer(Buffer.from('ffffffffffffffffff03', 'hex'))).toThrow('more than 64 bits');
    expect(() => type.fromBuffer(Buffer.from('8080808080808080808000', 'hex'))).toThrow('more than 64 bits');
  });
});

describe('arrays', () => {
  const type = parseAvroSchema(record([{ name: 'values', type: { type: 'array', items: 'string' } }]));

  test('are written and read', () => {
    const values = ['a', '', 'ccc'];
    expect(type.fromBuffer(type.toBuffer({ values })).values).toEqual(values);
    expect(type.fromBuffer(type.toBuffer({ values: [] })).values).toEqual([]);
  });

  // 2^31, 2^31 in a block with a size, and a count that overflows a double.
  test.each(['8080808010', 'ffffffff0f02', `${'ff'.repeat(160)}01`])(
    'that claim too many items (%s) are refused',
    (hex) => {
      expect(() => type.fromBuffer(Buffer.from(`${hex}0000`, 'hex'))).toThrow('more items than there are bytes');
    },
  );
});

test('an event of an older version is read as the latest one, with defaults for what it did not have', () => {
  const versions = createCatalogue([
    record([
      { name: 'id', type: 'string' },
      { name: 'amount', type: 'long' },
      { name: 'lines', type: { type: 'array', items: 'long' } },
    ]),
    record([
      { name: 'id', type: 'string' },
      { name: 'note', type: ['null', 'string'], default: null },
      { name: 'amount', type: 'long' },
      { name: 'lines', type: { type: 'array', items: 'long' } },
    ]),
  ]);
  const [older, latest] = versions;
  const bytes = older!.type.toBuffer({ id: 'a', amount: 2n ** 60n, lines: [1n, 2n ** 61n] });
  expect(latest!.resolver).toBeUndefined();
  expect({ ...latest!.type.decode(bytes, 0, older!.resolver).value }).toEqual({
    id: 'a',
    note: null,
    amount: 2n ** 60n,
    lines: [1n, 2n ** 61n],
  });
  expect(older!.fingerprint).not.toBe(latest!.fingerprint);
  const empty = older!.type.toBuffer({ id: 'a', amount: 1n, lines: [] });
  const hostile = Buffer.concat([empty.subarray(0, -1), Buffer.from('8080808010', 'hex')]);
  expect(() => latest!.type.decode(hostile, 0, older!.resolver)).toThrow('more items than there are bytes');
});
