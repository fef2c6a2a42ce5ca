// What we rely on in avsc, and work around: longs beyond 2^53, and where they can be put right. A red test here means that
// an upgrade has changed it, and schemas/avro/avro-type.ts may become simpler.
import avro from 'avsc';
import { describe, expect, it } from 'vitest';

const long = avro.types.LongType.__with({
  fromBuffer: (bytes: Buffer) => bytes.readBigInt64LE(),
  toBuffer: (value: bigint) => {
    const bytes = Buffer.alloc(8);
    bytes.writeBigInt64LE(value);
    return bytes;
  },
  fromJSON: BigInt,
  toJSON: String,
  isValid: (value: unknown) => typeof value === 'bigint',
  compare: (a: bigint, b: bigint) => (a < b ? -1 : a > b ? 1 : 0),
});
const schema: avro.Schema = {
  type: 'record',
  name: 'Moment',
  fields: [
    { name: 'position', type: 'long' },
    { name: 'at', type: { type: 'long', logicalType: 'timestamp-micros' } },
  ],
};
const beyondDouble = { position: 2n ** 60n + 1n, at: 2n ** 60n + 3n };
const hooked = avro.Type.forSchema(schema, {
  typeHook: (part) => (part === 'long' || (part as { type?: string }).type === 'long' ? long : undefined),
});

describe('avsc 5.7', () => {
  it('refuses longs that a double can not hold', () => {
    const bytes = hooked.toBuffer(beyondDouble);
    expect(() => avro.Type.forSchema(schema).fromBuffer(bytes)).toThrow('potential precision loss');
  });

  it('leaves longs under a logical type as they were when the type is given in its registry', () => {
    const registered = avro.Type.forSchema(schema, { registry: { long } });
    expect(registered.fromBuffer(registered.toBuffer({ position: beyondDouble.position, at: 5 }))).toMatchObject({
      position: beyondDouble.position,
      at: 5,
    });
    expect(() => registered.toBuffer(beyondDouble)).toThrow(TypeError);
  });

  it('takes every long, logical types included, through typeHook', () => {
    expect(hooked.fromBuffer(hooked.toBuffer(beyondDouble))).toMatchObject(beyondDouble);
  });

  it('crashes while it words the error for a bigint in the place of an int', () => {
    const int = avro.Type.forSchema({ type: 'record', name: 'Count', fields: [{ name: 'count', type: 'int' }] });
    expect(() => int.toBuffer({ count: 5n })).toThrow('Cannot mix BigInt');
  });
});
