import { randomBytes } from 'node:crypto';
import { createRequire } from 'node:module';
import fc from 'fast-check';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { advanceSequence } from '#kafka/producer/transaction-client.ts';
import { crc32c } from '#kafka/protocol/crc32c.ts';
import { encodeProduceRequest, type ProduceBatch, produceExchange } from '#kafka/protocol/produce-request.ts';
import { decodeRecordBatches } from '#kafka/protocol/record-batch.ts';

// kafkajs's own encoder of the same request is the reference, byte for byte.
const require = createRequire(import.meta.url);
const kafkajsRequest = require('kafkajs/src/protocol/requests/produce/v7/request') as (request: object) => {
  apiKey: number;
  apiVersion: number;
  apiName: string;
  encode(): Promise<{ buffer: Buffer }>;
};
const kafkajsCrc32c = require('kafkajs/src/protocol/recordBatch/crc32C') as (bytes: Buffer) => number;

const nowMs = 1_795_000_000_123;
const producer = { transactionalId: 'tillstream-ä', producerId: 9_007_199_254_740_993n, producerEpoch: 12 };

async function encodeWithKafkajs(batches: readonly ProduceBatch[], timeout: number): Promise<Buffer> {
  vi.spyOn(Date, 'now').mockReturnValue(nowMs);
  const topicData = [...Map.groupBy(batches, ({ topic }) => topic)].map(([topic, group]) => ({
    topic,
    partitions: group.map(({ partition, firstSequence, records }) => ({ partition, firstSequence, messages: records })),
  }));
  const identity = { ...producer, producerId: producer.producerId.toString() };
  return (await kafkajsRequest({ acks: -1, timeout, ...identity, topicData }).encode()).buffer;
}

const DecoderClass = require('kafkajs/src/protocol/decoder');

/** The record batches of a Produce request. */
function readRequestBatches(bytes: Buffer): Buffer[] {
  const request = new DecoderClass(bytes);
  request.readString(); // transactional id
  request.readInt16(); // acks
  request.readInt32(); // timeout
  const readPartition = (): Buffer => {
    request.readInt32();
    return request.readBytes();
  };
  return request
    .readArray(() => {
      request.readString();
      return request.readArray(readPartition);
    })
    .flat();
}

afterEach(() => {
  vi.restoreAllMocks();
});

describe('a Produce request', () => {
  const text = fc.string({ unit: fc.constantFrom('a', 'ä', '\0', '€', '𝄞'), maxLength: 40 });
  const record = fc.record(
    {
      key: text,
      value: fc.uint8Array({ maxLength: 400 }).map((bytes) => Buffer.from(bytes)),
      headers: fc.dictionary(text, text, { maxKeys: 3, noNullPrototype: true }),
    },
    { requiredKeys: ['key', 'value'] },
  );
  const batch = fc.record({
    topic: fc.constantFrom('orders.placed', 'cdc.checkpoints.s', 'ü'),
    partition: fc.nat(999),
    firstSequence: fc.nat(2 ** 31 - 1),
    records: fc.array(record, { minLength: 1, maxLength: 20 }),
  });

  const records = (topic: string, partition: number, values: readonly number[]) =>
    values.map((length, index) => ({ topic, partition, key: `k${index}`, value: Buffer.alloc(length, index) }));

  it('is byte for byte what kafkajs writes', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(batch, { minLength: 1, maxLength: 5 }),
        fc.nat(2 ** 31 - 1),
        async (shapes, timeoutMs) => {
          const batches = shapes.map((shape) => ({
            ...shape,
            records: shape.records.map((one) => ({ topic: shape.topic, partition: shape.partition, ...one })),
          })) as ProduceBatch[];
          const ours = encodeProduceRequest({ producer, timeoutMs, batches, nowMs });
          expect(ours.equals(await encodeWithKafkajs(batches, timeoutMs))).toBe(true);
        },
      ),
      { numRuns: 100 },
    );
  });

  it('is so for lengths and deltas on both sides of every size of a number', async () => {
    const lengths = [0, 1, 63, 64, 8_191, 8_192, 1_048_575, 1_048_576];
    const batches = [
      { topic: 't', partition: 0, firstSequence: 0, records: records('t', 0, lengths) },
      { topic: 't', partition: 1, firstSequence: 7, records: records('t', 1, new Array(9_000).fill(3)) },
    ];
    const ours = encodeProduceRequest({ producer, timeoutMs: 1, batches, nowMs });
    expect(ours.equals(await encodeWithKafkajs(batches, 1))).toBe(true);
  });

  it('is the request that kafkajs would send, version and all', () => {
    const { apiKey, apiVersion, apiName } = kafkajsRequest({ acks: -1, timeout: 1, topicData: [] });
    const { request } = produceExchange({ producer, timeoutMs: 1, batches: [], compression: 'none', nowMs });
    expect(request).toMatchObject({ apiKey, apiVersion, apiName });
  });

  it('holds the same records where it is compressed, in fewer bytes, one that does not shrink included', async () => {
    const random = { topic: 't', partition: 1, key: 'k', value: randomBytes(100_000) };
    const batches = [
      { topic: 't', partition: 0, firstSequence: 0, records: records('t', 0, new Array(500).fill(60)) },
      { topic: 't', partition: 1, firstSequence: 7, records: [random] },
    ];
    const encode = async (compression: 'none' | 'gzip') => {
      const { request } = produceExchange({ producer, timeoutMs: 1, batches, compression, nowMs });
      return (await (request as { encode(): Promise<{ buffer: Buffer }> }).encode()).buffer;
    };
    const [plain, zipped] = [await encode('none'), await encode('gzip')];
    expect(zipped.length).toBeLessThan(plain.length);
    const place = { topic: 't', partition: 0, fromOffset: 0n };
    const decoded = (request: Buffer) =>
      readRequestBatches(request).map((bytes) => decodeRecordBatches(bytes, place).records);
    expect(decoded(zipped)).toEqual(decoded(plain));
    expect(decoded(zipped).map(({ length }) => length)).toEqual([500, 1]);
  });
});

describe('the CRC-32C of a batch', () => {
  it("is that of the standard's test vectors", () => {
    expect(crc32c(Buffer.from('123456789'))).toBe(0xe3069283);
    expect(crc32c(Buffer.alloc(32))).toBe(0x8a9136aa);
    expect(crc32c(Buffer.alloc(32, 0xff))).toBe(0x62a8ab43);
    expect(crc32c(Buffer.alloc(0))).toBe(0);
  });

  it('is what kafkajs computes, over any part of a buffer', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), fc.nat(20), fc.nat(20), (array, skip, drop) => {
        const bytes = Buffer.from(array);
        const [start, end] = [
          Math.min(skip, bytes.length),
          Math.max(Math.min(skip, bytes.length), bytes.length - drop),
        ];
        expect(crc32c(bytes, start, end)).toBe(kafkajsCrc32c(bytes.subarray(start, end)));
      }),
    );
  });
});

describe('sequence numbers', () => {
  it('begin again at 0 after the largest, as brokers expect', () => {
    const largest = 2 ** 31 - 1;
    expect(advanceSequence(0, 5)).toBe(5);
    expect(advanceSequence(largest - 5, 5)).toBe(largest);
    expect(advanceSequence(largest, 1)).toBe(0);
    expect(advanceSequence(largest - 1, 5)).toBe(3);
  });
});
