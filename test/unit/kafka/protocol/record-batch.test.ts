import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as recordBatch from '#kafka/protocol/record-batch.ts';
import { encodeBatch, encodeBatches, end, seal, send } from '../../../support/examples/record-batches.ts';

const decodeRecordBatches = (
  bytes: Buffer,
  options: { fromOffset: bigint; aborted?: { producerId: bigint; firstOffset: bigint }[] | undefined },
) => recordBatch.decodeRecordBatches(bytes, { topic: 'live', partition: 3, ...options });

const values = ({ records }: ReturnType<typeof decodeRecordBatches>) => records.map(({ value }) => value?.toString());
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
    seal(emptied);
    expect(decodeRecordBatches(emptied, { fromOffset: 3n, aborted: [] })).toEqual({ records: [], nextOffset: 4n });
  });

  it('names place and reason of a batch that is damaged, and does not loop or allocate by what it states', async () => {
    const good = await encodeBatches(send(0, 1, 'abc', 'def'));
    const damaged = (change: (bytes: Buffer) => void, reseal = true): Buffer => {
      const bytes = Buffer.from(good);
      change(bytes);
      return reseal ? seal(bytes) : bytes;
    };
    const cases: [RegExp, Buffer][] = [
      [/format v1/, damaged((bytes) => bytes.writeInt8(1, 16))],
      [/checksum/, damaged((bytes) => bytes.writeInt8(bytes.readInt8(70) ^ 1, 70), false)],
      [/length that no batch has/, damaged((bytes) => bytes.writeInt32BE(-12, 8), false)],
      [/length that no batch has/, damaged((bytes) => bytes.writeInt32BE(0, 8), false)],
      [/codec 6/, damaged((bytes) => bytes.writeInt16BE(6, 21))],
      [/gzip data/, damaged((bytes) => bytes.writeInt16BE(1, 21))],
      [/can't be expanded/, damaged((bytes) => bytes.writeInt16BE(2, 21))],
      [/not an LZ4 frame/, damaged((bytes) => bytes.writeInt16BE(3, 21))],
      [/zstd data/, damaged((bytes) => bytes.writeInt16BE(4, 21))],
      [/can't be read/, damaged((bytes) => bytes.writeInt32BE(2 ** 31 - 1, 57))],
      [/negative offset or count/, damaged((bytes) => bytes.writeInt32BE(-1, 57))],
      [/negative offset or count/, damaged((bytes) => bytes.writeInt32BE(-1, 23))],
      [/holds more than its records/, damaged((bytes) => bytes.writeInt32BE(1, 57))],
      [/not in order/, damaged((bytes) => bytes.writeInt32BE(0, 23))],
      [/does not have the length/, damaged((bytes) => bytes.writeInt8(2, 61))],
    ];
    for (const [reason, bytes] of cases) {
      expect(() => decodeRecordBatches(bytes, { fromOffset: 0n })).toThrow(
        expect.objectContaining({ code: 'BATCH_UNREADABLE', message: expect.stringMatching(reason) }),
      );
      expect(() => decodeRecordBatches(bytes, { fromOffset: 0n })).toThrow(/live\[3\] offset 0/);
    }
    const back = Buffer.concat([await encodeBatches(send(5, 1, 'abc')), good]);
    expect(() => decodeRecordBatches(back, { fromOffset: 5n })).toThrow(/begins before the end/);
  });

  it('survives any change of any byte, and any records behind a fitting checksum', async () => {
    const good = await encodeBatches({
      baseOffset: 7,
      records: [
        { key: 'user', value: 'abc', headers: { kind: 'order' } },
        { key: null, value: null },
      ],
    });
    const change = fc.record({
      at: fc.integer({ min: 8, max: good.length - 1 }),
      byte: fc.nat(255),
      seal: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 4 }), (changes) => {
        const bytes = Buffer.from(good);
        for (const { at, byte } of changes) bytes[at] = byte;
        if (changes.some((one) => one.seal)) seal(bytes);
        try {
          decodeRecordBatches(bytes, { fromOffset: 7n });
        } catch (error) {
          expect(['BATCH_UNREADABLE', 'BATCH_TOO_LARGE']).toContain((error as { code?: string }).code);
        }
      }),
      { numRuns: 2_000 },
    );
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
