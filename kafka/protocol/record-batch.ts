// Decodes record batches (format v2) as a Fetch response holds them, for every reader of Kafka: kafkajs's consumers get
// what is decoded here too (patches.ts). Guarantees: checksums are verified; lengths and counts in the bytes bound no
// allocation and no loop by themselves; the end of a batch that compaction has emptied is kept. Which records are aborted
// is decided in aborted-transactions.ts, codecs are in compression/, fetching is left to reading/.

import { ExpansionLimitError } from '#kafka/compression/bounded-output.ts';
import { expand } from '#kafka/compression/expand.ts';
import { BatchTooLargeError, BatchUnreadableError } from '#kafka/protocol/batch-errors.ts';
import { type AbortedTransaction, createAbortedRecords, isAbortMarkerKey } from './aborted-transactions.ts';
import { crc32c } from './crc32c.ts';
import type { LogRecord } from './record.ts';
import { decodeRecords } from './records.ts';

/** A complete batch. `records` is empty for a control batch, an aborted one, and one that compaction has emptied. */
export interface DecodedBatch {
  readonly baseOffset: bigint;
  readonly lastOffset: bigint;
  readonly records: readonly LogRecord[];
  /** Of the leader that appended it: a log that lost its end goes on under a higher one. */
  readonly leaderEpoch: number;
  /** What it takes in memory. */
  readonly expandedBytes: number;
}

export interface BatchSource {
  readonly topic: string;
  readonly partition: number;
  /** Leaves aborted records out, as read_committed must; undefined keeps them. */
  readonly aborted?: readonly AbortedTransaction[] | undefined;
}

const DEFAULT_LIMIT_BYTES = 64 * 1024 * 1024;
let limitBytes = DEFAULT_LIMIT_BYTES;

/** Sets `MAX_EXPANDED_BATCH_BYTES`, for the whole process as memory is; a process calls it before its first client. */
export function limitExpandedBatches(bytes: number): void {
  limitBytes = bytes;
}

/** What one batch, and all batches of one response but the first, may take in memory. */
export function expandedBatchLimit(): number {
  return limitBytes;
}

const HEADER_BYTES = 61;
/** Base offset and length, which the length does not count. */
const PREFIX_BYTES = 12;
const CRC_FROM = 21;

/**
 * Decodes the complete batches in `bytes`, one partition of a Fetch response.
 * @throws BatchUnreadableError, BatchTooLargeError at the batch; what precedes it has been yielded
 */
export function* readBatches(bytes: Buffer, source: BatchSource): Generator<DecodedBatch, void, undefined> {
  const aborted = createAbortedRecords(source.aborted ?? []);
  let nextOffset = 0n;
  for (let start = 0; start + HEADER_BYTES <= bytes.length; ) {
    const baseOffset = bytes.readBigInt64BE(start);
    try {
      const length = bytes.readInt32BE(start + 8);
      if (length < HEADER_BYTES - PREFIX_BYTES) throw new RangeError('it states a length that no batch has');
      const end = start + PREFIX_BYTES + length;
      if (end > bytes.length) return;
      const batch = decodeHeader(bytes.subarray(start, end));
      if (baseOffset < nextOffset) throw new RangeError('it begins before the end of the batch that precedes it');
      let records: LogRecord[] = [];
      let expandedBytes = 0;
      if (batch.isControl) {
        const [marker] = decodeBody(batch).records;
        if (isAbortMarkerKey(marker?.key)) aborted.end(batch.producerId, batch.lastOffset);
      } else if (!(batch.isTransactional && aborted.has(batch.producerId, batch.lastOffset))) {
        ({ records, expandedBytes } = decodeBody(batch));
      }
      start = end;
      nextOffset = batch.lastOffset + 1n;
      const { lastOffset, leaderEpoch } = batch;
      yield { baseOffset, lastOffset, records, leaderEpoch, expandedBytes };
    } catch (error) {
      const place = { topic: source.topic, partition: source.partition, baseOffset };
      if (error instanceof ExpansionLimitError) throw new BatchTooLargeError(place, limitBytes, { cause: error });
      if (error instanceof RangeError) throw new BatchUnreadableError(place, error.message, { cause: error });
      throw error;
    }
  }
}

/**
 * The records of `bytes` from `fromOffset` on (a batch may begin before it) and the offset to fetch next, which is
 * `fromOffset` when no batch is complete. Ends after the batch that makes the sum reach the limit; the next fetch goes on.
 */
export function decodeRecordBatches(
  bytes: Buffer,
  { fromOffset, ...source }: BatchSource & { readonly fromOffset: bigint },
): { records: LogRecord[]; nextOffset: bigint } {
  const records: LogRecord[] = [];
  let nextOffset = fromOffset;
  let expandedBytes = 0;
  for (const batch of readBatches(bytes, source)) {
    for (const record of batch.records) if (record.offset >= fromOffset) records.push(record);
    if (batch.lastOffset >= nextOffset) nextOffset = batch.lastOffset + 1n;
    expandedBytes += batch.expandedBytes;
    if (expandedBytes >= limitBytes) break;
  }
  return { records, nextOffset };
}

interface Batch {
  readonly baseOffset: bigint;
  readonly lastOffset: bigint;
  readonly leaderEpoch: number;
  readonly producerId: bigint;
  readonly codec: number;
  readonly isTransactional: boolean;
  readonly isControl: boolean;
  readonly recordCount: number;
  readonly body: Buffer;
}

function decodeHeader(batch: Buffer): Batch {
  const magic = batch.readInt8(16);
  if (magic !== 2) throw new RangeError(`it has format v${magic}; only v2 (Kafka 0.11 and newer) is supported`);
  const crc = crc32c(batch, CRC_FROM);
  if (crc !== batch.readUInt32BE(17)) throw new RangeError('its checksum does not fit its bytes');
  const attributes = batch.readInt16BE(21);
  const baseOffset = batch.readBigInt64BE(0);
  const lastOffsetDelta = batch.readInt32BE(23);
  const recordCount = batch.readInt32BE(57);
  if (baseOffset < 0n || lastOffsetDelta < 0 || recordCount < 0)
    throw new RangeError('it states a negative offset or count');
  return {
    baseOffset,
    lastOffset: baseOffset + BigInt(lastOffsetDelta),
    leaderEpoch: batch.readInt32BE(12),
    producerId: batch.readBigInt64BE(43),
    codec: attributes & 0x07,
    isTransactional: (attributes & 0x10) !== 0,
    isControl: (attributes & 0x20) !== 0,
    recordCount,
    body: batch.subarray(HEADER_BYTES),
  };
}

function decodeBody({ recordCount, codec, body, baseOffset, lastOffset }: Batch) {
  if (recordCount === 0) return { records: [], expandedBytes: 0 };
  const expanded = expand(codec, body, limitBytes);
  return decodeRecords(expanded, { recordCount, baseOffset, lastOffset, limitBytes });
}
