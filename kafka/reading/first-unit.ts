// What stands first in the bytes of a partition: a record, or a whole batch that can't be read. For whoever has to go past it.
// Guarantees: a record before the batch comes first; a batch is named with its end only where its header and what follows it
// in the log agree, since a damaged header may state any end, and going past good records would lose them. Pure.
import { type BatchTooLargeError, type BatchUnreadableError, isBatchError } from '#kafka/protocol/batch-errors.ts';
import { crc32c } from '#kafka/protocol/crc32c.ts';
import type { LogRecord } from '#kafka/protocol/record.ts';
import { type BatchSource, readBatches } from '#kafka/protocol/record-batch.ts';

/** A batch as the broker has it. */
export interface WholeBatch {
  readonly baseOffset: bigint;
  /** Exclusive. */
  readonly endOffset: bigint;
  readonly bytes: Buffer;
  readonly statedCrc: number;
  readonly actualCrc: number;
  /** Why it can't be read. */
  readonly error: BatchUnreadableError | BatchTooLargeError;
}

export type FirstUnit =
  | { readonly kind: 'record'; readonly record: LogRecord }
  | { readonly kind: 'batch'; readonly batch: WholeBatch }
  /** Where the batch ends is not certain. */
  | { readonly kind: 'uncertain'; readonly why: string; readonly batchBytes: number }
  /** Nothing of the kind lies before this offset. */
  | { readonly kind: 'none'; readonly nextOffset: bigint };

const PREFIX_BYTES = 12;
const CRC_AT = 17;
const CRC_FROM = 21;
const LAST_OFFSET_DELTA_AT = 23;

/** `stableOffset`: where what may be read ends, exclusive; a batch that ends there needs no successor as evidence. */
export function findFirstUnit(
  bytes: Buffer,
  { fromOffset, stableOffset, ...source }: BatchSource & { readonly fromOffset: bigint; readonly stableOffset: bigint },
): FirstUnit {
  let nextOffset = fromOffset;
  let start = 0;
  try {
    for (const { records, lastOffset } of readBatches(bytes, source)) {
      const record = records.find(({ offset }) => offset >= fromOffset);
      if (record !== undefined) return { kind: 'record', record };
      if (lastOffset >= nextOffset) nextOffset = lastOffset + 1n;
      start += PREFIX_BYTES + bytes.readInt32BE(start + 8);
    }
  } catch (error) {
    if (!isBatchError(error)) throw error;
    return describeBatch(bytes, start, error, nextOffset, stableOffset);
  }
  return { kind: 'none', nextOffset };
}

function describeBatch(
  bytes: Buffer,
  start: number,
  error: WholeBatch['error'],
  fromOffset: bigint,
  stableOffset: bigint,
): FirstUnit {
  const length = bytes.readInt32BE(start + 8);
  const end = start + PREFIX_BYTES + length;
  if (length < CRC_FROM || end > bytes.length) {
    return { kind: 'uncertain', why: `it states a length of ${length} bytes`, batchBytes: 0 };
  }
  const batch = bytes.subarray(start, end);
  const baseOffset = batch.readBigInt64BE(0);
  const endOffset = baseOffset + BigInt(batch.readInt32BE(LAST_OFFSET_DELTA_AT)) + 1n;
  const follows = end + 8 <= bytes.length ? bytes.readBigInt64BE(end) : undefined;
  const batchBytes = batch.length;
  if (endOffset <= fromOffset || endOffset > stableOffset) {
    const why = `it states that it ends before offset ${endOffset}, and the partition can be read from ${fromOffset} to ${stableOffset}`;
    return { kind: 'uncertain', why, batchBytes };
  }
  if (follows === undefined ? endOffset !== stableOffset : endOffset !== follows) {
    const why = `it states that it ends before offset ${endOffset}, and what follows it begins at ${follows ?? 'an unknown one'}`;
    return { kind: 'uncertain', why, batchBytes };
  }
  const crcs = { statedCrc: batch.readUInt32BE(CRC_AT), actualCrc: crc32c(batch, CRC_FROM) };
  return { kind: 'batch', batch: { baseOffset, endOffset, bytes: batch, ...crcs, error } };
}
