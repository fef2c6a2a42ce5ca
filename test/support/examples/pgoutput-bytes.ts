// pgoutput messages of protocol version 1 as bytes, written from the protocol's documentation and not from the parser.

export type TupleValue = string | null | undefined;

const POSTGRES_EPOCH_MICROS = 946_684_800_000_000n;

export function encodeBegin(commitLsn: bigint, committedAt: bigint, xid: number): Buffer {
  return Buffer.concat([Buffer.from('B'), uint64(commitLsn), micros(committedAt), uint32(xid)]);
}

export function encodeCommit(commitLsn: bigint, endLsn: bigint, committedAt: bigint): Buffer {
  return Buffer.concat([Buffer.from('C'), Buffer.from([0]), uint64(commitLsn), uint64(endLsn), micros(committedAt)]);
}

export function encodeRelation(
  relationOid: number,
  schema: string,
  name: string,
  columns: readonly { name: string; typeOid: number; isKey: boolean }[],
): Buffer {
  const encoded = columns.flatMap((column) => [
    Buffer.from([column.isKey ? 1 : 0]),
    text(column.name),
    uint32(column.typeOid),
    uint32(0xffff_ffff), // type modifier −1
  ]);
  return Buffer.concat([
    Buffer.from('R'),
    uint32(relationOid),
    text(schema),
    text(name),
    Buffer.from('d'),
    uint16(columns.length),
    ...encoded,
  ]);
}

export function encodeInsert(relationOid: number, values: readonly TupleValue[]): Buffer {
  return Buffer.concat([Buffer.from('I'), uint32(relationOid), Buffer.from('N'), encodeTuple(values)]);
}

/** TupleData: `undefined` is an unchanged value that was not sent. */
export function encodeTuple(values: readonly TupleValue[]): Buffer {
  const encoded = values.flatMap((value) => {
    if (value === null) return [Buffer.from('n')];
    if (value === undefined) return [Buffer.from('u')];
    const bytes = Buffer.from(value, 'utf8');
    return [Buffer.from('t'), uint32(bytes.length), bytes];
  });
  return Buffer.concat([uint16(values.length), ...encoded]);
}

function uint16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}

export function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

function uint64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(value);
  return bytes;
}

function micros(sinceUnixEpoch: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64BE(sinceUnixEpoch - POSTGRES_EPOCH_MICROS);
  return bytes;
}

function text(value: string): Buffer {
  return Buffer.from(`${value}\0`, 'utf8');
}
