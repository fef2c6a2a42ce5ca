/**
 * Turns an Avro schema into an avsc type that is safe for 64-bit numbers and for hostile bytes.
 *
 * Guarantees: a long is a bigint, whole and within 64 bits, at every depth; an array can't claim more items than bytes
 * are left, which avsc would believe (and build, for minutes). Both are installed through `typeHook`, the only one of
 * avsc's ways in that also covers logical types. Leaves to the caller: ints (avsc reads them without a range check).
 */
import avro from 'avsc';

/** The part of avsc's internal cursor that the array guard needs; pinned by test/unit/schemas/avro/avro-type.test.ts. */
interface Tap {
  readonly buf: Buffer;
  readonly pos: number;
  readLong(): number;
  skipLong(): void;
}

const SMALLEST_LONG = -(2n ** 63n);
const LARGEST_LONG = 2n ** 63n - 1n;
/** Seven bits a byte, 64 bits. */
const LONGEST_VARINT_BYTES = 10;
/** Below this, twice the number (zigzag) is exact in a double; LSNs, prices and times are. */
const LARGEST_FAST = 2n ** 51n;

/** One buffer for each length, because avsc copies the whole buffer it is given, at once. */
const varints = Array.from({ length: LONGEST_VARINT_BYTES + 1 }, (_, length) => Buffer.alloc(length));
const digits = new Uint8Array(LONGEST_VARINT_BYTES);

/** Zigzag variable-length form of a signed 64-bit number; the answer is overwritten by the next call. */
function formatVarint(value: bigint): Buffer {
  let length = 0;
  if (value < LARGEST_FAST && value > -LARGEST_FAST) {
    const number = Number(value);
    let rest = number < 0 ? -number * 2 - 1 : number * 2;
    while (rest >= 2 ** 31) {
      digits[length++] = (rest % 128) | 0x80;
      rest = Math.floor(rest / 128);
    }
    while (rest > 0x7f) {
      digits[length++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    digits[length++] = rest;
  } else {
    let rest = BigInt.asUintN(64, (value << 1n) ^ (value >> 63n));
    for (; rest > 0x7fn; rest >>= 7n) digits[length++] = Number(rest & 0x7fn) | 0x80;
    digits[length++] = Number(rest);
  }
  const bytes = varints[length]!;
  for (let index = 0; index < length; index++) bytes[index] = digits[index]!;
  return bytes;
}

function parseVarint(bytes: Buffer): bigint {
  if (bytes.length <= 7) {
    let number = 0;
    for (let index = bytes.length - 1; index >= 0; index--) number = number * 128 + (bytes[index]! & 0x7f);
    return BigInt(number % 2 === 0 ? number / 2 : -(number + 1) / 2);
  }
  let zigzag = 0n;
  for (let index = bytes.length - 1; index >= 0; index--) zigzag = (zigzag << 7n) | BigInt(bytes[index]! & 0x7f);
  if (bytes.length > LONGEST_VARINT_BYTES || zigzag >> 64n) throw new RangeError('a long has more than 64 bits');
  return (zigzag >> 1n) ^ -(zigzag & 1n);
}

const bigintLong = avro.types.LongType.__with(
  {
    toBuffer: formatVarint,
    fromBuffer: parseVarint,
    isValid: (value: unknown) => typeof value === 'bigint' && value >= SMALLEST_LONG && value <= LARGEST_LONG,
    compare: (a: bigint, b: bigint) => (a === b ? 0 : a < b ? -1 : 1),
    fromJSON: (value: number | string) => BigInt(value),
    toJSON: (value: bigint) => value.toString(),
  },
  true,
);

class BoundedArrayType extends avro.types.ArrayType {
  /** Overrides avsc's reader; `this` is the type, or a resolver with the same `itemsType`. */
  _read(tap: Tap): unknown[] {
    const { itemsType } = this as unknown as { itemsType: { _read(tap: Tap): unknown } };
    const values: unknown[] = [];
    for (let count = tap.readLong(); count !== 0; count = tap.readLong()) {
      if (count < 0) {
        count = -count;
        tap.skipLong(); // A negative count is followed by the block's size in bytes.
      }
      // Every item that we have takes at least a byte. Written so that NaN (a varint without end) is refused too.
      if (!(count <= tap.buf.length - tap.pos)) throw new RangeError('an array claims more items than there are bytes');
      for (; count > 0; count--) values.push(itemsType._read(tap));
    }
    return values;
  }
}

function hookType(schema: unknown, options: avro.ForSchemaOptions): avro.Type | undefined {
  if (schema === 'long') return bigintLong;
  if (typeof schema !== 'object' || schema === null || !('type' in schema)) return undefined;
  if (schema.type === 'long') return bigintLong;
  if (schema.type === 'array') return new BoundedArrayType(schema as never, options);
  return undefined;
}

/** The avsc type of a schema given as the text of its `.avsc` file. */
export function parseAvroSchema(json: string): avro.Type {
  return avro.Type.forSchema(JSON.parse(json), { typeHook: hookType as never, omitRecordMethods: true });
}
