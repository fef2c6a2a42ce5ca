// Record batches (format v2) as a fetch returns them, decoded by ourselves, because kafkajs drops what we need: the end
// of a batch that compaction has emptied (without it a reader never gets past it), and which batches are control
// batches. Pure; which records are aborted is kafka-aborted.ts's, fetching is left to kafka-log.ts.

import { gunzipSync, zstdDecompressSync } from 'node:zlib';
import { type AbortedTransaction, createAbortedRecords, isAbortMarkerKey } from '#service/kafka-aborted.ts';

/** One record; its buffers are views of the fetched bytes, to be copied by who keeps them. */
export interface LogRecord {
  readonly offset: bigint;
  readonly timestampMs: bigint;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly headers: Record<string, Buffer>;
}

/** A batch whose codec we can't decompress. */
export class UnsupportedCompressionError extends Error {
  readonly code = 'UNSUPPORTED_COMPRESSION';

  constructor(codec: string) {
    super(
      `A record batch is compressed with ${codec}, which can't be read here. Nothing here compresses so: set the topic's ` +
        `compression.type to producer, uncompressed, gzip or zstd.`,
    );
    this.name = 'UnsupportedCompressionError';
  }
}

const headerBytes = 61;
const codecs = ['none', 'gzip', 'snappy', 'lz4', 'zstd'];

/**
 * Decodes the complete batches in `bytes`, a partition's part of a fetch answer. Returns the records from `fromOffset`
 * (those before it in its batch are left out) and the offset to fetch next, which is `fromOffset` when no batch is
 * complete. `aborted` leaves out aborted records as read_committed must; undefined keeps them. Throws
 * {@link UnsupportedCompressionError}, and RangeError for bytes that are not such batches.
 */
export function decodeRecordBatches(
  bytes: Buffer,
  options: { fromOffset: bigint; aborted?: readonly AbortedTransaction[] | undefined },
): { records: LogRecord[]; nextOffset: bigint } {
  const records: LogRecord[] = [];
  const aborted = createAbortedRecords(options.aborted ?? []);
  let nextOffset = options.fromOffset;
  for (let start = 0; start + headerBytes <= bytes.length; ) {
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
  readonly baseTimestampMs: bigint;
  /** Set when the broker stamped the batch: every record then has this time. */
  readonly appendTimeMs: bigint | undefined;
  readonly producerId: bigint;
  readonly codec: number;
  readonly isTransactional: boolean;
  readonly isControl: boolean;
  readonly recordCount: number;
  readonly body: Buffer;
}

function decodeBatchHeader(batch: Buffer): Batch {
  const magic = batch.readInt8(16);
  if (magic !== 2) throw new RangeError(`A record batch has format v${magic}; only v2 (Kafka 0.11 and newer) is read.`);
  const attributes = batch.readInt16BE(21);
  const baseOffset = batch.readBigInt64BE(0);
  return {
    baseOffset,
    lastOffset: baseOffset + BigInt(batch.readInt32BE(23)),
    baseTimestampMs: batch.readBigInt64BE(27),
    appendTimeMs: attributes & 0x08 ? batch.readBigInt64BE(35) : undefined,
    producerId: batch.readBigInt64BE(43),
    codec: attributes & 0x07,
    isTransactional: (attributes & 0x10) !== 0,
    isControl: (attributes & 0x20) !== 0,
    recordCount: batch.readInt32BE(57),
    body: batch.subarray(headerBytes),
  };
}

function decompress({ codec, body }: Batch): Buffer {
  if (codec === 0) return body;
  if (codec === 1) return gunzipSync(body);
  if (codec === 4) return zstdDecompressSync(body);
  throw new UnsupportedCompressionError(codecs[codec] ?? `codec ${codec}`);
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
  const readVarlong = (): bigint => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = body.readUInt8(at);
      at += 1;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return (value >> 1n) ^ -(value & 1n);
      if (shift > 56n) throw new RangeError('A number in a record batch is longer than 64 bits.');
    }
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
    at += 1;
    const createTimeMs = batch.baseTimestampMs + readVarlong();
    const timestampMs = batch.appendTimeMs ?? createTimeMs;
    const offset = batch.baseOffset + BigInt(readVarint());
    const key = readBytes();
    const value = readBytes();
    const headers: Record<string, Buffer> = Object.create(null); // a header may be named __proto__
    for (let left = readVarint(); left > 0; left -= 1) {
      const name = readBytes()!.toString('utf8');
      headers[name] = readBytes() ?? Buffer.alloc(0);
    }
    if (at !== end) throw new RangeError('A record in a record batch is not as long as it says.');
    return { offset, timestampMs, key, value, headers };
  });
}
