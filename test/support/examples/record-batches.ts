// Record batches (format v2) for tests of their decoding: as kafkajs encodes them, with the fields that only a broker
// writes put in afterwards, and with a checksum that fits.

import { createRequire } from 'node:module';
import { crc32c } from '#kafka/protocol/crc32c.ts';

/** Makes the checksum fit the bytes again. */
export const seal = (batch: Buffer): Buffer => {
  batch.writeUInt32BE(crc32c(batch, 21), 17);
  return batch;
};

// Batches as kafkajs encodes them, with the fields that only a broker writes put in afterwards.
const require = createRequire(import.meta.url);
interface Encoder {
  buffer: Buffer;
}
const { RecordBatch } = require('kafkajs/src/protocol/recordBatch/v0') as { RecordBatch(o: object): Promise<Encoder> };
const encodeRecord = require('kafkajs/src/protocol/recordBatch/record/v0') as (o: object) => Encoder;

export interface BatchShape {
  readonly baseOffset: number;
  readonly records: readonly { key?: Buffer | string | null; value?: Buffer | string | null; headers?: object }[];
  readonly producer?: number;
  readonly transactional?: boolean;
  readonly control?: 'abort' | 'commit';
  /** Batches that compaction has thinned out keep their end. */
  readonly lastOffsetDelta?: number;
  readonly compression?: number;
}

export async function encodeBatch(shape: BatchShape): Promise<Buffer> {
  const marker = shape.control && {
    key: Buffer.from([0, 0, 0, shape.control === 'abort' ? 0 : 1]),
    value: Buffer.alloc(6),
  };
  const records = (marker ? [marker] : shape.records).map((record, index) =>
    encodeRecord({ offsetDelta: index, timestampDelta: index, headers: {}, ...record }),
  );
  const { buffer } = await RecordBatch({
    firstTimestamp: 1_700_000_000_000,
    maxTimestamp: 1_700_000_000_000 + records.length,
    lastOffsetDelta: shape.lastOffsetDelta ?? records.length - 1,
    transactional: shape.transactional ?? false,
    producerId: shape.producer ?? -1,
    compression: shape.compression ?? 0,
    records,
  });
  const bytes = Buffer.from(buffer);
  bytes.writeBigInt64BE(BigInt(shape.baseOffset), 0);
  if (shape.control) bytes.writeInt16BE(bytes.readInt16BE(21) | 0x20, 21);
  return seal(bytes);
}

export const encodeBatches = async (...shapes: BatchShape[]) =>
  Buffer.concat(await Promise.all(shapes.map(encodeBatch)));
export const send = (baseOffset: number, producer: number, ...texts: string[]): BatchShape => ({
  baseOffset,
  producer,
  transactional: true,
  records: texts.map((value) => ({ key: 'k', value })),
});
export const end = (baseOffset: number, producer: number, control: 'abort' | 'commit'): BatchShape => ({
  baseOffset,
  producer,
  transactional: true,
  control,
  records: [],
});
