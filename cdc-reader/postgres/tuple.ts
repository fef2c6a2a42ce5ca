// The values of one row as pgoutput sends it. Guarantees: no character is lost or replaced; a row that is torn or of another
// shape is a PgoutputFormatError; columns that nobody asked for are skipped as bytes, whatever they hold and however
// large they are. Which columns are asked for is the caller's.
import { decodeUtf8, PgoutputFormatError } from './pgoutput.ts';

const NULL_VALUE = 0x6e; // n
const TEXT_VALUE = 0x74; // t
const UNCHANGED_VALUE = 0x75; // u

/** Up to here a row is turned into text at once; a larger one is mostly somebody else's column, and read by its columns. */
const READ_AT_ONCE_BYTES = 64 * 1024;

/**
 * The column values of a row, in the order of its RELATION message: text as Postgres's output functions print it,
 * `null` for NULL, `undefined` for an unchanged value that Postgres did not send again, and for one that is not `wanted`:
 * its bytes are skipped and may be anything.
 * @throws PgoutputFormatError when the row is torn, has another number of columns, or holds a binary value.
 */
export function decodeTuple(
  tuple: Buffer,
  columns: number,
  wanted?: readonly boolean[],
): (string | null | undefined)[] {
  const length = tuple.length;
  if (length < 2 || ((tuple[0]! << 8) | tuple[1]!) !== columns) {
    throw new PgoutputFormatError(tuple, `is a row that has not the ${columns} columns of its relation`);
  }
  const values = new Array<string | null | undefined>(columns);
  // One call for all columns: a call a column costs twice as much in all. A column with a byte above 127 is read again.
  const ascii = length > READ_AT_ONCE_BYTES ? undefined : tuple.toString('latin1');
  let at = 2;
  for (let column = 0; column < columns; column++) {
    switch (tuple[at]) {
      case TEXT_VALUE: {
        const start = at + 5;
        if (start > length) throw new PgoutputFormatError(tuple, 'is a torn row');
        // Unsigned: a length above 2^31 must not become a step backwards.
        const end =
          start + (((tuple[at + 1]! << 24) | (tuple[at + 2]! << 16) | (tuple[at + 3]! << 8) | tuple[at + 4]!) >>> 0);
        if (end > length) throw new PgoutputFormatError(tuple, 'is a torn row');
        at = end;
        if (wanted !== undefined && !wanted[column]) break;
        let bits = 0;
        for (let i = start; i < end; i++) bits |= tuple[i]!;
        if (bits > 127) values[column] = decodeUtf8(tuple, start, end);
        else values[column] = ascii?.substring(start, end) ?? tuple.toString('latin1', start, end);
        break;
      }
      case NULL_VALUE:
        values[column] = null;
        at += 1;
        break;
      case UNCHANGED_VALUE:
        values[column] = undefined;
        at += 1;
        break;
      default:
        throw new PgoutputFormatError(tuple, at < length ? 'is a row with a value that is no text' : 'is a torn row');
    }
  }
  if (at !== length) throw new PgoutputFormatError(tuple, 'is a row with more bytes than its columns hold');
  return values;
}

/**
 * The same row with NULL for what is not `wanted`, in bytes of its own: a value of megabytes in somebody else's column is
 * not held until the COMMIT, and not written to the temporary file. A small row is returned as it is.
 * @throws PgoutputFormatError when the row is torn
 */
export function dropUnwanted(tuple: Buffer, wanted: readonly boolean[]): Buffer {
  if (tuple.length <= READ_AT_ONCE_BYTES) return tuple;
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
