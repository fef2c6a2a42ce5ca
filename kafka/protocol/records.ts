// Decodes the records of one batch out of its expanded bytes. Guarantees: nothing is allocated by a count that the bytes
// state; what the records take as objects counts towards the limit, since millions of empty ones fit a few megabytes; a
// record that contradicts itself or its batch ends in a RangeError. Pure.
import { ExpansionLimitError } from '#kafka/compression/bounded-output.ts';
import type { LogRecord } from './record.ts';

/**
 * What a record takes beside its bytes, on the heap: the object, its offset, two views, the object of its headers
 * (measured: 480 bytes); and what a header takes: an entry and a view.
 */
const RECORD_OBJECT_BYTES = 512;
const HEADER_OBJECT_BYTES = 256;

interface Bounds {
  readonly recordCount: number;
  readonly baseOffset: bigint;
  readonly lastOffset: bigint;
  readonly limitBytes: number;
}

/** The records, and what they take in memory. @throws ExpansionLimitError, RangeError */
export function decodeRecords(
  body: Buffer,
  { recordCount, baseOffset, lastOffset, limitBytes }: Bounds,
): { records: LogRecord[]; expandedBytes: number } {
  const records: LogRecord[] = [];
  let expandedBytes = body.length;
  let at = 0;
  const readVarint = (): number => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = body.readUInt8(at);
      at += 1;
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return (value >>> 1) ^ -(value & 1);
      if (shift > 21) throw new RangeError('a number in it is longer than 32 bits');
    }
  };
  const skipVarlong = (): void => {
    while (body.readUInt8(at) >= 0x80) at += 1;
    at += 1;
  };
  const readBytes = (): Buffer | null => {
    const length = readVarint();
    if (length < 0) return null;
    if (at + length > body.length) throw new RangeError('it ends inside a record');
    at += length;
    return body.subarray(at - length, at);
  };
  const count = (bytes: number): void => {
    expandedBytes += bytes;
    if (expandedBytes > limitBytes) throw new ExpansionLimitError(limitBytes);
  };
  const readHeaders = (): Record<string, Buffer> => {
    const headers: Record<string, Buffer> = Object.create(null); // a header may be named __proto__
    for (let left = readVarint(); left > 0; left -= 1) {
      count(HEADER_OBJECT_BYTES);
      const name = readBytes();
      if (name === null) throw new RangeError('a header in it has no name');
      headers[name.toString('utf8')] = readBytes() ?? Buffer.alloc(0);
    }
    return headers;
  };
  for (let index = 0; index < recordCount; index += 1) {
    count(RECORD_OBJECT_BYTES);
    const length = readVarint();
    const end = at + length;
    at += 1; // attributes
    skipVarlong(); // timestamp
    const offset = baseOffset + BigInt(readVarint());
    const key = readBytes();
    const value = readBytes();
    const headers = readHeaders();
    if (at !== end) throw new RangeError('a record in it does not have the length that it states');
    const previous = records.at(-1)?.offset ?? baseOffset - 1n;
    if (offset <= previous || offset > lastOffset) throw new RangeError('the offsets of its records are not in order');
    records.push({ offset, key, value, headers });
  }
  if (at !== body.length) throw new RangeError('it holds more than its records');
  return { records, expandedBytes };
}
