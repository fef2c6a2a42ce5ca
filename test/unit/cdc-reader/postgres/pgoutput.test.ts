// The parser against messages that Postgres 18.4 really sent (recorded: all kinds of protocol version 1, odd names, all
// of UTF-8's lengths, unchanged values, an origin), against the library's parser on the same, and against broken bytes.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { Pgoutput } from 'pg-logical-replication';
import { describe, expect, it } from 'vitest';
import { formatLsn, type Lsn, parseLsn } from '#schemas/lsn.ts';
import { PgoutputFormatError, type PgoutputMessage, parsePgoutput } from '../../../../cdc-reader/postgres/pgoutput.ts';
import { decodeTuple, rowOf } from '../../../support/examples/decode-tuple.ts';
import { encodeInsert, encodeRelation, encodeTuple, uint32 } from '../../../support/examples/pgoutput-bytes.ts';

const recording = new URL('../../../support/examples/pgoutput-recorded.json', import.meta.url);
const recorded = (JSON.parse(readFileSync(recording, 'utf8')) as { messages: string[] }).messages.map((hex) =>
  Buffer.from(hex, 'hex'),
);

type LibraryParser = { parse(bytes: Buffer): Pgoutput.Message };
/** The library's parser, with values left as the text they are. */
function createLibraryParser(): LibraryParser {
  const require = createRequire(import.meta.url);
  const main = require.resolve('pg-logical-replication');
  const { PgoutputParser } = require(main.replace('index.js', 'output-plugins/pgoutput/pgoutput-parser.js')) as {
    PgoutputParser: new () => LibraryParser;
  };
  return new PgoutputParser();
}

describe('messages that Postgres sent', () => {
  it('are of every kind that version 1 has', () => {
    const kinds = new Set(recorded.map((bytes) => parsePgoutput(bytes).kind));
    expect([...kinds].sort()).toEqual(
      ['begin', 'commit', 'delete', 'insert', 'message', 'origin', 'relation', 'truncate', 'type', 'update'].sort(),
    );
  });

  it('mean to us what they mean to the library', () => {
    const library = createLibraryParser();
    const columnsOf = new Map<number, number>();
    const compared = new Set<string>();
    for (const bytes of recorded) {
      const ours = parsePgoutput(bytes);
      const theirs = library.parse(bytes);
      if (theirs.tag === 'relation') for (const column of theirs.columns) column.parser = (raw: string) => raw;
      if (ours.kind === 'relation') columnsOf.set(ours.relationOid, ours.columns.length);
      expect(describeOurs(ours, columnsOf)).toEqual(describeTheirs(theirs));
      compared.add(ours.kind);
    }
    expect(compared.size).toBe(10);
  });

  it('keep all digits, all characters and the padding of char(n)', () => {
    const rows = recorded.map((bytes) => parsePgoutput(bytes)).filter((message) => message.kind === 'insert');
    const [ada, eve, zoe] = rows.map(rowOf).map((tuple) => decodeTuple(tuple, tuple.readUInt16BE(0)));
    expect(ada!.slice(1, 5)).toEqual(['ada', 'USD', '9223372036854775807', expect.stringContaining('04:05:06.000007')]);
    expect(ada![5]).toBe('long '.repeat(800));
    expect(eve!.slice(1)).toEqual(['eve', 'US ', '0', expect.stringContaining('59.999999'), null]);
    expect(zoe!.slice(1)).toEqual(['Zoë 🛒 日本', 'EUR', '-1', null, '']);
  });

  it('have their times in microseconds', () => {
    const begin = parsePgoutput(recorded[0]!);
    expect(begin).toMatchObject({ kind: 'begin' });
    const exact = recorded[0]!.readBigInt64BE(9) + 946_684_800_000_000n;
    expect(begin.kind === 'begin' && begin.committedAt).toBe(exact);
  });

  it('are refused when torn at any byte that matters, or followed by more', () => {
    for (const bytes of recorded) {
      const { kind } = parsePgoutput(bytes);
      // What is not published is not read to its end.
      const isRead = ['begin', 'commit', 'relation', 'insert', 'truncate'].includes(kind);
      for (let length = 0; isRead && length < bytes.length; length++) {
        expect(() => readAll(bytes.subarray(0, length))).toThrow(PgoutputFormatError);
      }
      if (isRead) expect(() => readAll(Buffer.concat([bytes, Buffer.from([0])]))).toThrow(PgoutputFormatError);
    }
  });
});

describe('parsePgoutput', () => {
  it.each(['S', 'E', 'c', 'A', 'b', 'P', 'K', 'r', 'p', 'x', '\0', 'ÿ'])('refuses the kind %j', (kind) => {
    const bytes = Buffer.concat([Buffer.from(kind, 'latin1'), Buffer.alloc(40)]);
    expect(() => parsePgoutput(bytes)).toThrow(PgoutputFormatError);
  });

  it('reads transaction and object ids as unsigned', () => {
    const begin = Buffer.concat([Buffer.from('B'), Buffer.alloc(16), uint32(0xffff_fffe)]);
    expect(parsePgoutput(begin)).toMatchObject({ xid: 0xffff_fffe });
    expect(parsePgoutput(encodeInsert(0xffff_ffff, []))).toMatchObject({ relationOid: 0xffff_ffff });
  });

  it('gives the schema that Postgres sends as nothing its name', () => {
    expect(parsePgoutput(encodeRelation(1, '', 'pg_class', []))).toMatchObject({ schema: 'pg_catalog' });
  });

  it('says of broken bytes their kind and length, and nothing of what is in them', () => {
    const row = encodeInsert(7, ['secret']);
    const problem = catchError(() => readAll(row.subarray(0, -1)));
    expect(problem).toMatchObject({ code: 'PGOUTPUT_FORMAT' });
    expect(catchError(() => parsePgoutput(Buffer.from('X1234'))).message).toContain("kind 'X' and 5 bytes");
    expect(problem.message).not.toContain('secret');
  });
});

describe('decodeTuple', () => {
  it('refuses a row with another number of columns than its relation', () => {
    expect(() => decodeTuple(encodeTuple(['a', 'b']), 3)).toThrow(PgoutputFormatError);
    expect(() => decodeTuple(encodeTuple(['a', 'b']), 1)).toThrow(PgoutputFormatError);
  });

  it('refuses binary values', () => {
    const tuple = Buffer.from(encodeTuple(['abc']));
    tuple[2] = 'b'.charCodeAt(0);
    expect(() => decodeTuple(tuple, 1)).toThrow(PgoutputFormatError);
  });

  it('refuses text that is not UTF-8 rather than replacing it', () => {
    const tuple = Buffer.from(encodeTuple(['abc']));
    tuple[8] = 0xff;
    expect(() => decodeTuple(tuple, 1)).toThrow(PgoutputFormatError);
  });

  it('refuses a length that would step backwards as a signed number', () => {
    const tuple = Buffer.concat([Buffer.from([0, 1]), Buffer.from('t'), uint32(0xffff_fffb)]);
    expect(() => decodeTuple(tuple, 1)).toThrow(PgoutputFormatError);
  });

  it('reads values longer than 127 and 65,535 bytes, whose lengths have high bits', () => {
    const values = ['x'.repeat(200), 'y'.repeat(70_000), 'ä'.repeat(40_000)];
    expect(decodeTuple(encodeTuple(values), 3)).toEqual(values);
  });

  it("keeps a byte order mark, which is a value's first character like any other", () => {
    expect(decodeTuple(encodeTuple(['\ufeffx', '\ufeff']), 2)).toEqual(['\ufeffx', '\ufeff']);
  });

  it('gives strings that stay when the buffer is written again', () => {
    const values = ['a', 'thirteen characters and more', 'é', '🛒'.repeat(30)];
    const tuple = Buffer.from(encodeTuple(values));
    const decoded = decodeTuple(tuple, 4);
    tuple.fill(0x2e);
    expect(decoded).toEqual(values);
  });
});

function readAll(bytes: Buffer): void {
  const message = parsePgoutput(bytes);
  if (message.kind === 'insert') decodeTuple(rowOf(message), rowOf(message).readUInt16BE(0));
}

function catchError(run: () => unknown): Error {
  try {
    run();
  } catch (error) {
    return error as Error;
  }
  throw new Error('It was accepted.');
}

/** What both parsers tell of a message, in words that both have. */
function describeOurs(message: PgoutputMessage, columnsOf: ReadonlyMap<number, number>): unknown {
  switch (message.kind) {
    case 'insert': {
      const { kind, relationOid } = message;
      return { kind, relationOid, tuple: decodeTuple(rowOf(message), columnsOf.get(relationOid)!) };
    }
    case 'begin':
      return { ...message, commitLsn: formatLsn(message.commitLsn) };
    case 'commit':
      return { ...message, commitLsn: formatLsn(message.commitLsn), endLsn: formatLsn(message.endLsn) };
    default:
      return message;
  }
}

function describeTheirs(message: Pgoutput.Message): unknown {
  const canonical = (text: string | null): string => formatLsn(text === null ? (0n as Lsn) : parseLsn(text));
  switch (message.tag) {
    case 'begin':
      return {
        kind: 'begin',
        commitLsn: canonical(message.commitLsn),
        committedAt: message.commitTime,
        xid: message.xid >>> 0,
      };
    case 'commit':
      return {
        kind: 'commit',
        commitLsn: canonical(message.commitLsn),
        endLsn: canonical(message.commitEndLsn),
        committedAt: message.commitTime,
      };
    case 'relation': {
      const columns = message.columns.map(({ name, typeOid, flags }) => ({ name, typeOid, isKey: (flags & 1) === 1 }));
      const { relationOid, schema, name } = message;
      return { kind: 'relation', relationOid, schema, name, columns };
    }
    case 'insert':
      return { kind: 'insert', relationOid: message.relation.relationOid, tuple: Object.values(message.new) };
    case 'update':
    case 'delete':
      return { kind: message.tag, relationOid: message.relation.relationOid };
    case 'truncate':
      return { kind: 'truncate', relationOids: message.relations.map(({ relationOid }) => relationOid) };
    default:
      return { kind: message.tag };
  }
}
