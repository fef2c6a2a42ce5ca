import { createRequire } from 'node:module';
import { zstdCompressSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeRecordBatches, UnsupportedCompressionError } from '#kafka/protocol/record-batch.ts';

// Batches as kafkajs encodes them, with the fields that only a broker writes put in afterwards.
const require = createRequire(import.meta.url);
interface Encoder {
  buffer: Buffer;
}
const { RecordBatch } = require('kafkajs/src/protocol/recordBatch/v0') as { RecordBatch(o: object): Promise<Encoder> };
const encodeRecord = require('kafkajs/src/protocol/recordBatch/record/v0') as (o: object) => Encoder;

interface BatchShape {
  readonly baseOffset: number;
  readonly records: readonly { key?: Buffer | string | null; value?: Buffer | string | null; headers?: object }[];
  readonly producer?: number;
  readonly transactional?: boolean;
  readonly control?: 'abort' | 'commit';
  /** Batches that compaction has thinned out keep their end. */
  readonly lastOffsetDelta?: number;
  readonly compression?: number;
}

async function encodeBatch(shape: BatchShape): Promise<Buffer> {
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
  return bytes;
}

const encodeBatches = async (...shapes: BatchShape[]) => Buffer.concat(await Promise.all(shapes.map(encodeBatch)));
const values = ({ records }: ReturnType<typeof decodeRecordBatches>) => records.map(({ value }) => value?.toString());
const send = (baseOffset: number, producer: number, ...texts: string[]): BatchShape => ({
  baseOffset,
  producer,
  transactional: true,
  records: texts.map((value) => ({ key: 'k', value })),
});
const end = (baseOffset: number, producer: number, control: 'abort' | 'commit'): BatchShape => ({
  baseOffset,
  producer,
  transactional: true,
  control,
  records: [],
});

describe('decoding record batches', () => {
  it('gives offsets, keys, values and headers', async () => {
    const bytes = await encodeBatches({
      baseOffset: 41,
      records: [
        { key: 'user', value: Buffer.from([1, 2, 3]), headers: { kind: 'order', run: '7' } },
        { key: null, value: null },
        { key: '', value: '' },
      ],
    });
    const { records, nextOffset } = decodeRecordBatches(bytes, { fromOffset: 41n });
    expect(records).toEqual([
      {
        offset: 41n,
        key: Buffer.from('user'),
        value: Buffer.from([1, 2, 3]),
        headers: { kind: Buffer.from('order'), run: Buffer.from('7') },
      },
      { offset: 42n, key: null, value: null, headers: {} },
      { offset: 43n, key: Buffer.alloc(0), value: Buffer.alloc(0), headers: {} },
    ]);
    expect(nextOffset).toBe(44n);
  });

  it('agrees with kafkajs on whatever kafkajs encodes', async () => {
    const bytes = fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array));
    const record = fc.record({
      key: fc.option(bytes),
      value: fc.option(bytes),
      headers: fc.dictionary(fc.string({ minLength: 1 }), bytes, { noNullPrototype: true, maxKeys: 3 }),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(record, { minLength: 1, maxLength: 9 }),
        fc.nat(2 ** 31 - 1),
        async (records, baseOffset) => {
          const decoded = decodeRecordBatches(await encodeBatch({ baseOffset, records }), { fromOffset: 0n });
          expect(decoded.records.map(({ key, value }) => ({ key, value }))).toEqual(
            records.map(({ key, value }) => ({ key, value })),
          );
          expect(decoded.records.map(({ headers }) => Object.keys(headers))).toEqual(
            records.map(({ headers }) => Object.keys(headers)),
          );
          expect(decoded.nextOffset).toBe(BigInt(baseOffset + records.length));
        },
      ),
      { numRuns: 100 },
    );
  });

  it('leaves out what lies before the wanted offset in the same batch', async () => {
    const bytes = await encodeBatches(send(10, 1, 'a', 'b', 'c'));
    const decoded = decodeRecordBatches(bytes, { fromOffset: 12n });
    expect(values(decoded)).toEqual(['c']);
    expect(decoded.nextOffset).toBe(13n);
  });

  it('stops before a batch that is cut off, at every possible byte', async () => {
    const first = await encodeBatches(send(10, 1, 'a'));
    const both = Buffer.concat([first, await encodeBatches(send(11, 1, 'b'))]);
    for (let length = 0; length < both.length; length += 1) {
      const { records, nextOffset } = decodeRecordBatches(both.subarray(0, length), { fromOffset: 10n });
      expect(records).toHaveLength(length < first.length ? 0 : 1);
      expect(nextOffset).toBe(length < first.length ? 10n : 11n);
    }
  });

  it('goes past control records without giving them out, in both isolation levels', async () => {
    const bytes = await encodeBatches(send(0, 1, 'a'), end(1, 1, 'commit'));
    for (const aborted of [undefined, []]) {
      const decoded = decodeRecordBatches(bytes, { fromOffset: 0n, aborted });
      expect(values(decoded)).toEqual(['a']);
      expect(decoded.nextOffset).toBe(2n);
    }
  });

  it('goes past batches that compaction has emptied or thinned out', async () => {
    const bytes = await encodeBatches(
      { baseOffset: 5, records: [], lastOffsetDelta: 9 },
      { baseOffset: 15, records: [{ value: 'a' }], lastOffsetDelta: 20 },
    );
    const decoded = decodeRecordBatches(bytes, { fromOffset: 7n });
    expect(values(decoded)).toEqual(['a']);
    expect(decoded.nextOffset).toBe(36n);
  });

  it('goes past an emptied control batch', async () => {
    const emptied = await encodeBatch({
      baseOffset: 3,
      records: [],
      producer: 1,
      transactional: true,
      lastOffsetDelta: 0,
    });
    emptied.writeInt16BE(emptied.readInt16BE(21) | 0x20, 21);
    expect(decodeRecordBatches(emptied, { fromOffset: 3n, aborted: [] })).toEqual({ records: [], nextOffset: 4n });
  });

  it('reads gzip and zstd, and names a codec that it can not read', async () => {
    const zipped = await encodeBatches({ baseOffset: 0, records: [{ value: 'a' }, { value: 'b' }], compression: 1 });
    expect(values(decodeRecordBatches(zipped, { fromOffset: 0n }))).toEqual(['a', 'b']);
    const plain = await encodeBatches({ baseOffset: 0, records: [{ value: 'a' }, { value: 'b' }] });
    const zstd = Buffer.concat([plain.subarray(0, 61), zstdCompressSync(plain.subarray(61))]);
    zstd.writeInt32BE(zstd.length - 12, 8);
    zstd.writeInt16BE(4, 21);
    expect(values(decodeRecordBatches(zstd, { fromOffset: 0n }))).toEqual(['a', 'b']);
    plain.writeInt16BE(3, 21);
    expect(() => decodeRecordBatches(plain, { fromOffset: 0n })).toThrow(UnsupportedCompressionError);
    expect(() => decodeRecordBatches(plain, { fromOffset: 0n })).toThrow(/lz4/);
  });

  it('throws on an old format and on bytes that contradict themselves', async () => {
    const bytes = await encodeBatches(send(0, 1, 'abc'));
    const old = Buffer.from(bytes);
    old.writeInt8(1, 16);
    expect(() => decodeRecordBatches(old, { fromOffset: 0n })).toThrow(/format v1/);
    const broken = Buffer.from(bytes);
    broken.writeInt8(2, 61);
    expect(() => decodeRecordBatches(broken, { fromOffset: 0n })).toThrow(RangeError);
  });
});

describe('aborted records', () => {
  it('are left out up to their abort marker, those of others are not', async () => {
    const bytes = await encodeBatches(
      send(0, 1, 'one, aborted'),
      send(1, 2, 'two, committed'),
      send(2, 1, 'one, aborted too'),
      end(3, 1, 'abort'),
      send(4, 1, 'one, committed'),
      end(5, 2, 'commit'),
      end(6, 1, 'commit'),
    );
    const decoded = decodeRecordBatches(bytes, { fromOffset: 0n, aborted: [{ producerId: 1n, firstOffset: 0n }] });
    expect(values(decoded)).toEqual(['two, committed', 'one, committed']);
    expect(decoded.nextOffset).toBe(7n);
  });

  it('are left out when aborted transactions overlap, listed in any order', async () => {
    const bytes = await encodeBatches(
      send(0, 1, 'a'),
      send(1, 2, 'b'),
      send(2, 1, 'c'),
      end(3, 1, 'abort'),
      send(4, 2, 'd'),
      end(5, 2, 'abort'),
    );
    const aborted = [
      { producerId: 2n, firstOffset: 1n },
      { producerId: 1n, firstOffset: 0n },
    ];
    expect(values(decodeRecordBatches(bytes, { fromOffset: 0n, aborted }))).toEqual([]);
  });

  it('are left out when the read begins inside of their transactions', async () => {
    const bytes = await encodeBatches(send(8, 2, 'a'), send(9, 1, 'b'), end(10, 2, 'abort'), end(11, 1, 'abort'));
    const aborted = [
      { producerId: 1n, firstOffset: 2n },
      { producerId: 2n, firstOffset: 3n },
    ];
    expect(values(decodeRecordBatches(bytes, { fromOffset: 8n, aborted }))).toEqual([]);
  });

  it('are not ended by a record whose key looks like an abort marker', async () => {
    const bytes = await encodeBatches(
      {
        baseOffset: 0,
        producer: 1,
        transactional: true,
        records: [
          { key: Buffer.alloc(4), value: 'a' },
          { key: 'k', value: 'b' },
        ],
      },
      end(2, 1, 'abort'),
      { baseOffset: 3, producer: 1, transactional: true, records: [{ key: '\0\0\0\0', value: 'c' }] },
      end(4, 1, 'commit'),
    );
    const decoded = decodeRecordBatches(bytes, { fromOffset: 0n, aborted: [{ producerId: 1n, firstOffset: 0n }] });
    expect(values(decoded)).toEqual(['c']);
  });

  it('are given out when nobody asks for them to be left out', async () => {
    const bytes = await encodeBatches(send(0, 1, 'a'), end(1, 1, 'abort'));
    expect(values(decodeRecordBatches(bytes, { fromOffset: 0n }))).toEqual(['a']);
  });

  it('do not take non-transactional records of the same producer with them', async () => {
    const bytes = await encodeBatches(
      send(0, 1, 'a'),
      { baseOffset: 1, producer: 1, records: [{ value: 'b' }] },
      end(2, 1, 'abort'),
    );
    const aborted = [{ producerId: 1n, firstOffset: 0n }];
    expect(values(decodeRecordBatches(bytes, { fromOffset: 0n, aborted }))).toEqual(['b']);
  });
});
