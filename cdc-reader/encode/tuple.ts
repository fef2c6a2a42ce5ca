// The values of one row as pgoutput sends it: where they lie in its bytes. Guarantees: a row that is torn or of another
// shape is a PgoutputFormatError; columns that nobody asked for are skipped as bytes, whatever they hold and however
// large they are. Which columns are asked for, and what a value must look like, is the caller's.
import { PgoutputFormatError } from '../postgres/pgoutput.ts';

const NULL_VALUE = 0x6e; // n
const TEXT_VALUE = 0x74; // t
const UNCHANGED_VALUE = 0x75; // u

/** A row above this is mostly somebody else's column. */
export const LARGE_ROW_BYTES = 64 * 1024;

/**
 * Where the values of a row lie. `spans` gets two numbers a column, from `into` on: the first byte and the one behind the last,
 * or -1 twice for NULL and for an unchanged value that Postgres did not send again. No value is read: its bytes may be
 * anything.
 * @param bytes holds the row, without its kind, from `start` to `end`.
 * @throws PgoutputFormatError when the row is torn, has another number of columns, or holds a binary value.
 */
export function locateValues(
  bytes: Buffer,
  start: number,
  end: number,
  columns: number,
  spans: Int32Array,
  into = 0,
): void {
  if (end - start < 2 || ((bytes[start]! << 8) | bytes[start + 1]!) !== columns) {
    throw refuse(bytes, start, end, `is a row that has not the ${columns} columns of its relation`);
  }
  let at = start + 2;
  for (let span = into; span < into + 2 * columns; span += 2) {
    const kind = at < end ? bytes[at] : undefined;
    if (kind === TEXT_VALUE) {
      const from = at + 5;
      if (from > end) throw refuse(bytes, start, end, 'is a torn row');
      // Unsigned: a length above 2^31 must not become a step backwards.
      at = from + (((bytes[at + 1]! << 24) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 8) | bytes[at + 4]!) >>> 0);
      if (at > end) throw refuse(bytes, start, end, 'is a torn row');
      spans[span] = from;
      spans[span + 1] = at;
    } else if (kind === NULL_VALUE || kind === UNCHANGED_VALUE) {
      spans[span] = -1;
      spans[span + 1] = -1;
      at += 1;
    } else {
      throw refuse(bytes, start, end, kind === undefined ? 'is a torn row' : 'is a row with a value that is no text');
    }
  }
  if (at !== end) throw refuse(bytes, start, end, 'is a row with more bytes than its columns hold');
}

function refuse(bytes: Buffer, start: number, end: number, problem: string): PgoutputFormatError {
  return new PgoutputFormatError(bytes.subarray(start, end), problem);
}

/** A row of these values, as pgoutput sends it. */
export function formatTuple(values: readonly (string | null)[]): Buffer {
  const parts = [Buffer.of(values.length >> 8, values.length & 0xff)];
  for (const value of values) {
    if (value === null) {
      parts.push(NULL);
      continue;
    }
    const bytes = Buffer.from(value, 'utf8');
    const head = Buffer.of(TEXT_VALUE, 0, 0, 0, 0);
    head.writeUInt32BE(bytes.length, 1);
    parts.push(head, bytes);
  }
  return Buffer.concat(parts);
}

/**
 * The same row with NULL for what is not `wanted`, in bytes of its own: a value of megabytes in somebody else's column is
 * not held until the COMMIT, and not written to the temporary file. A small row is returned as it is.
 * @throws PgoutputFormatError when the row is torn
 */
export function dropUnwanted(tuple: Buffer, wanted: readonly boolean[]): Buffer {
  if (tuple.length <= LARGE_ROW_BYTES) return tuple;
  const kept: Buffer[] = [tuple.subarray(0, 2)];
  let at = 2;
  for (const isWanted of wanted) {
    const start = at;
    at += 1;
    if (tuple[start] === TEXT_VALUE) {
      if (start + 5 > tuple.length) throw new PgoutputFormatError(tuple, 'is a torn row');
      at = start + 5 + tuple.readUInt32BE(start + 1);
    }
    if (at > tuple.length) throw new PgoutputFormatError(tuple, 'is a torn row');
    kept.push(isWanted ? tuple.subarray(start, at) : NULL);
  }
  kept.push(tuple.subarray(at)); // nothing, or what makes the row one that decodeTuple refuses
  return Buffer.concat(kept);
}

const NULL = Buffer.of(NULL_VALUE);
