// Decodes record batches (format v2) as a Fetch response holds them. kafkajs drops what is needed here: the end of a batch
// that compaction has emptied (without it a reader never gets past it), and which batches are control batches. Pure. Which
// records are aborted is decided in aborted-transactions.ts; fetching is left to reading/.

import { gunzipSync, zstdDecompressSync } from 'node:zlib';
import { type AbortedTransaction, createAbortedRecords, isAbortMarkerKey } from './aborted-transactions.ts';
import type { LogRecord } from './record.ts';

/** A batch is compressed with a codec that can't be decompressed here. */
export class UnsupportedCompressionError extends Error {
  readonly code = 'UNSUPPORTED_COMPRESSION';

  constructor(codec: string) {
    super(
      `A record batch is compressed with ${codec}, which is not supported. Tillstream does not compress with it: set ` +
        `compression.type of the topic to producer, uncompressed, gzip or zstd.`,
    );
    this.name = 'UnsupportedCompressionError';
  }
}

const HEADER_BYTES = 61;
const CODECS = ['none', 'gzip', 'snappy', 'lz4', 'zstd'];

/**
 * Decodes the complete batches in `bytes`, one partition of a Fetch response. Returns the records from `fromOffset` on (a
 * batch may begin before it) and the offset to fetch next, which is `fromOffset` when no batch is complete. With `aborted`,
 * aborted records are left out, as read_committed must; undefined keeps them. Throws
 * {@link UnsupportedCompressionError}, and RangeError for bytes that are not such batches.
 */
export function decodeRecordBatches(
  bytes: Buffer,
  options: { fromOffset: bigint; aborted?: readonly AbortedTransaction[] | undefined },
): { records: LogRecord[]; nextOffset: bigint } {
  const records: LogRecord[] = [];
  const aborted = createAbortedRecords(options.aborted ?? []);
  let nextOffset = options.fromOffset;
  for (let start = 0; start + HEADER_BYTES <= bytes.length; ) {
    const end = start + 12 + bytes.readInt32BE(start + 8);
    if (end > bytes.length) break;
    const batch = decodeBatchHeader(bytes.subarray(start, end));
    if (batch.isControl) {
      if (isAbortMarkerKey(decodeRecords(batch)[0]?.key)) aborted.end(batch.producerId, batch.lastOffset);
    } else if (!(batch.isTransactional && aborted.has(batch.producerId, batch.lastOffset))) {
      for (const record of decodeRecords(batch)) if (record.offset >= options.fromOffset) records.push(record);
    }
    if (batch.lastOffset >= nextOffset) nextOffset = batch.lastOffset + 1n;
    start = end;
  }
  return { records, nextOffset };
}

interface Batch {
  readonly baseOffset: bigint;
  readonly lastOffset: bigint;
  readonly producerId: bigint;
  readonly codec: number;
  readonly isTransactional: boolean;
  readonly isControl: boolean;
  readonly recordCount: number;
  readonly body: Buffer;
}

function decodeBatchHeader(batch: Buffer): Batch {
  const magic = batch.readInt8(16);
  if (magic !== 2)
    throw new RangeError(`A record batch has format v${magic}; only v2 (Kafka 0.11 and newer) is supported.`);
  const attributes = batch.readInt16BE(21);
  const baseOffset = batch.readBigInt64BE(0);
  return {
    baseOffset,
    lastOffset: baseOffset + BigInt(batch.readInt32BE(23)),
    producerId: batch.readBigInt64BE(43),
    codec: attributes & 0x07,
    isTransactional: (attributes & 0x10) !== 0,
    isControl: (attributes & 0x20) !== 0,
    recordCount: batch.readInt32BE(57),
    body: batch.subarray(HEADER_BYTES),
  };
}

function decompress({ codec, body }: Batch): Buffer {
  if (codec === 0) return body;
  if (codec === 1) return gunzipSync(body);
  if (codec === 4) return zstdDecompressSync(body);
  throw new UnsupportedCompressionError(CODECS[codec] ?? `codec ${codec}`);
}

function decodeRecords(batch: Batch): LogRecord[] {
  if (batch.recordCount === 0) return [];
  const body = decompress(batch);
  let at = 0;
  const readVarint = (): number => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = body.readUInt8(at);
      at += 1;
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return (value >>> 1) ^ -(value & 1);
      if (shift > 21) throw new RangeError('A number in a record batch is longer than 32 bits.');
    }
  };
  const skipVarlong = (): void => {
    while (body.readUInt8(at) >= 0x80) at += 1;
    at += 1;
  };
  const readBytes = (): Buffer | null => {
    const length = readVarint();
    if (length < 0) return null;
    if (at + length > body.length) throw new RangeError('A record batch ends inside a record.');
    at += length;
    return body.subarray(at - length, at);
  };
  return Array.from({ length: batch.recordCount }, () => {
    const length = readVarint();
    const end = at + length;
    at += 1; // attributes
    skipVarlong(); // timestamp
    const offset = batch.baseOffset + BigInt(readVarint());
    const key = readBytes();
    const value = readBytes();
    const headers: Record<string, Buffer> = Object.create(null); // a header may be named __proto__
    for (let left = readVarint(); left > 0; left -= 1) {
      const name = readBytes()!.toString('utf8');
      headers[name] = readBytes() ?? Buffer.alloc(0);
    }
    if (at !== end) throw new RangeError('A record in a record batch does not have the length that it states.');
    return { offset, key, value, headers };
  });
}
