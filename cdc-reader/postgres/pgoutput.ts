// The messages of Postgres's logical decoding plugin pgoutput, protocol version 1, as values. Pure, and our own: the
// library's parser cuts timestamps to milliseconds, reads transaction ids as signed and throws on kinds it does not
// know. Guarantees: no digit is lost, and bytes that are torn, too long or of an unknown kind are a PgoutputFormatError
// and never a message. Rows stay undecoded: tuple.ts reads them, once, by their table.
import { type Lsn, toLsn } from '#schemas/lsn.ts';

/** `committedAt` is microseconds since 1970; `xid` is unsigned; a new row lies in `bytes`, which were parsed, from `start` to `end`. */
export type PgoutputMessage =
  | { readonly kind: 'begin'; readonly commitLsn: Lsn; readonly committedAt: bigint; readonly xid: number }
  | { readonly kind: 'commit'; readonly commitLsn: Lsn; readonly endLsn: Lsn; readonly committedAt: bigint }
  | {
      readonly kind: 'relation';
      readonly relationOid: number;
      readonly schema: string;
      readonly name: string;
      readonly columns: readonly RelationColumn[];
    }
  | {
      readonly kind: 'insert';
      readonly relationOid: number;
      readonly bytes: Buffer;
      readonly start: number;
      readonly end: number;
    }
  | { readonly kind: 'update' | 'delete'; readonly relationOid: number }
  | { readonly kind: 'truncate'; readonly relationOids: readonly number[] }
  | { readonly kind: 'type' | 'origin' | 'message' };

/** `isKey`: part of the replica identity. */
interface RelationColumn {
  readonly name: string;
  readonly typeOid: number;
  readonly isKey: boolean;
}

/** Bytes that are no message of protocol version 1. The error has their kind and length, never their content. */
export class PgoutputFormatError extends Error {
  readonly code = 'PGOUTPUT_FORMAT';

  constructor(bytes: Buffer, problem: string) {
    const first = bytes[0];
    const kind =
      first === undefined ? 'no' : first > 32 && first < 127 ? `'${String.fromCharCode(first)}'` : `${first}`;
    super(
      `A pgoutput message of kind ${kind} and ${bytes.length} bytes ${problem}. The reader understands protocol version ` +
        '1 with text values; check that the slot uses pgoutput and that no proxy alters the stream.',
    );
    this.name = 'PgoutputFormatError';
  }
}

const BEGIN = 0x42; // B
const COMMIT = 0x43; // C
const DELETE = 0x44; // D
const INSERT = 0x49; // I
const MESSAGE = 0x4d; // M
const ORIGIN = 0x4f; // O
const RELATION = 0x52; // R
const TRUNCATE = 0x54; // T
const UPDATE = 0x55; // U
const TYPE = 0x59; // Y

const NEW_TUPLE = 0x4e; // N
const KEY_TUPLE = 0x4b; // K
const OLD_TUPLE = 0x4f; // O

/** Microseconds from 1970-01-01 to 2000-01-01, where Postgres counts from. */
const POSTGRES_EPOCH_MICROS = 946_684_800_000_000n;

/** Fixed lengths in bytes, with the kind: BEGIN has a LSN, a time and a xid; COMMIT flags, two LSNs and a time. */
const BEGIN_BYTES = 21;
const COMMIT_BYTES = 26;
/** Kind, relation, the kind of tuple, and the tuple's number of columns. */
const SHORTEST_ROW_BYTES = 8;

/** Not fatal would turn broken text into U+FFFD; a byte order mark is a value's first character like any other. */
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * Parses one whole message (what one XLogData of `read` holds behind its header).
 * @throws PgoutputFormatError when they are torn, too long, or of a kind that version 1 does not have.
 */
export function parsePgoutput(read: Buffer, start = 0, end = read.length): PgoutputMessage {
  if (read[start] === INSERT && end - start >= SHORTEST_ROW_BYTES && read[start + 5] === NEW_TUPLE) {
    return { kind: 'insert', relationOid: readOid(read, start + 1), bytes: read, start: start + 6, end };
  }
  const bytes = read.subarray(start, end);
  switch (bytes[0]) {
    case INSERT:
      throw new PgoutputFormatError(bytes, bytes.length < SHORTEST_ROW_BYTES ? 'is torn' : 'has no new row');
    case BEGIN:
      requireLength(bytes, BEGIN_BYTES);
      return {
        kind: 'begin',
        commitLsn: readLsn(bytes, 1),
        committedAt: readMicros(bytes, 9),
        xid: readOid(bytes, 17),
      };
    case COMMIT:
      requireLength(bytes, COMMIT_BYTES);
      return {
        kind: 'commit',
        commitLsn: readLsn(bytes, 2),
        endLsn: readLsn(bytes, 10),
        committedAt: readMicros(bytes, 18),
      };
    case RELATION:
      return parseRelation(bytes);
    case UPDATE:
      return { kind: 'update', relationOid: readChangedRelation(bytes, true) };
    case DELETE:
      return { kind: 'delete', relationOid: readChangedRelation(bytes, false) };
    case TRUNCATE:
      return parseTruncate(bytes);
    case TYPE:
      return { kind: 'type' };
    case ORIGIN:
      return { kind: 'origin' };
    case MESSAGE:
      return { kind: 'message' };
    default:
      throw new PgoutputFormatError(bytes, 'is of a kind that is not known here');
  }
}

/** The same with bytes of its own: what was read may be overwritten by the next read. */
export function copyRow(insert: Extract<PgoutputMessage, { kind: 'insert' }>): PgoutputMessage {
  const bytes = Buffer.from(insert.bytes.subarray(insert.start, insert.end));
  return { ...insert, bytes, start: 0, end: bytes.length };
}

function parseRelation(bytes: Buffer): PgoutputMessage {
  requireAtLeast(bytes, 5);
  const schemaEnd = readStringEnd(bytes, 5);
  const nameEnd = readStringEnd(bytes, schemaEnd + 1);
  // After the names: replica identity (one byte) and the number of columns (two).
  let at = nameEnd + 4;
  requireAtLeast(bytes, at);
  const columns: RelationColumn[] = [];
  for (let left = bytes.readUInt16BE(at - 2); left > 0; left--) {
    requireAtLeast(bytes, at + 1);
    const columnEnd = readStringEnd(bytes, at + 1);
    requireAtLeast(bytes, columnEnd + 9); // type and type modifier follow the name
    columns.push({
      name: decodeUtf8(bytes, at + 1, columnEnd),
      typeOid: readOid(bytes, columnEnd + 1),
      isKey: (bytes[at]! & 1) === 1,
    });
    at = columnEnd + 9;
  }
  requireLength(bytes, at);
  return {
    kind: 'relation',
    relationOid: readOid(bytes, 1),
    // Postgres sends pg_catalog as an empty string.
    schema: decodeUtf8(bytes, 5, schemaEnd) || 'pg_catalog',
    name: decodeUtf8(bytes, schemaEnd + 1, nameEnd),
    columns,
  };
}

function parseTruncate(bytes: Buffer): PgoutputMessage {
  requireAtLeast(bytes, 6);
  const count = readOid(bytes, 1);
  requireLength(bytes, 6 + 4 * count); // flags before the relations
  return { kind: 'truncate', relationOids: Array.from({ length: count }, (_, i) => readOid(bytes, 6 + 4 * i)) };
}

function readChangedRelation(bytes: Buffer, hasNewTuple: boolean): number {
  requireAtLeast(bytes, SHORTEST_ROW_BYTES);
  const tuple = bytes[5];
  if (tuple !== KEY_TUPLE && tuple !== OLD_TUPLE && !(hasNewTuple && tuple === NEW_TUPLE)) {
    throw new PgoutputFormatError(bytes, 'has a row of unknown kind');
  }
  return readOid(bytes, 1);
}

function requireLength(bytes: Buffer, length: number): void {
  if (bytes.length !== length) throw new PgoutputFormatError(bytes, `should have ${length} bytes`);
}

function requireAtLeast(bytes: Buffer, length: number): void {
  if (bytes.length < length) throw new PgoutputFormatError(bytes, 'is torn');
}

function readStringEnd(bytes: Buffer, start: number): number {
  const end = bytes.indexOf(0, start);
  if (end < 0) throw new PgoutputFormatError(bytes, 'is torn');
  return end;
}

/** @throws PgoutputFormatError */
export function decodeUtf8(bytes: Buffer, start: number, end: number): string {
  try {
    return utf8.decode(bytes.subarray(start, end));
  } catch {
    // No text of the row may be in the error.
    throw new PgoutputFormatError(bytes, 'holds text that is not UTF-8');
  }
}

/** Object ids and transaction ids are unsigned 32-bit integers. */
function readOid(bytes: Buffer, at: number): number {
  return bytes.readUInt32BE(at);
}

function readLsn(bytes: Buffer, at: number): Lsn {
  return toLsn(bytes.readBigUInt64BE(at));
}

function readMicros(bytes: Buffer, at: number): bigint {
  return bytes.readBigInt64BE(at) + POSTGRES_EPOCH_MICROS;
}
