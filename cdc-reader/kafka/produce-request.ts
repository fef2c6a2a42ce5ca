// Produce requests and their record batches, written in one pass into one buffer: 1.35 million records a second, where
// kafkajs's encoder, a few buffers a record, makes 175,000 and would be the reader's bottleneck (trap 11). Byte for byte
// what kafkajs writes (test/unit/kafka-produce-request.test.ts). Pure, but for kafkajs's own decoding of the answer.

import { createRequire } from 'node:module';
import type { KafkaExchange } from '#service/kafka-cluster.ts';
import { crc32c } from './crc32c.ts';
import { type OutgoingRecord, type PartitionRecords, recordBytes } from './split-sends.ts';

/** One partition's records with the sequence number of the first, by which its leader knows a repetition. */
export interface ProduceBatch extends PartitionRecords {
  readonly firstSequence: number;
}

/** What a leader says of one batch: error code 0, or why not. */
export interface ProduceAnswer {
  readonly topics: readonly {
    topicName: string;
    partitions: readonly { partition: number; errorCode: number; baseOffset: string }[];
  }[];
}

export interface ProducerIdentity {
  readonly transactionalId: string;
  readonly producerId: bigint;
  readonly producerEpoch: number;
}

const require = createRequire(import.meta.url);
const { decode } = require('kafkajs/src/protocol/requests/produce/v7/response') as {
  decode(answer: Buffer): Promise<object>;
};

const produceApiKey = 0;
const produceVersion = 7;
const allInSyncReplicas = -1;
const batchHeaderBytes = 61;
const magic = 2;
const transactional = 0x10;

/** A Produce request for batches of one leader; `nowMs` becomes the time of every record. */
export function produceExchange(options: {
  producer: ProducerIdentity;
  timeoutMs: number;
  batches: readonly ProduceBatch[];
  nowMs: number;
}): KafkaExchange<ProduceAnswer> {
  return {
    request: {
      apiKey: produceApiKey,
      apiVersion: produceVersion,
      apiName: 'Produce',
      // kafkajs takes an encoder of its own, of which it reads these two.
      encode: async () => {
        const buffer = encodeProduceRequest(options);
        return { buf: buffer, buffer };
      },
    },
    response: { decode, parse: async (decoded) => decoded as ProduceAnswer },
  };
}

/** The body of the request; see {@link produceExchange}. */
export function encodeProduceRequest(options: {
  producer: ProducerIdentity;
  timeoutMs: number;
  batches: readonly ProduceBatch[];
  nowMs: number;
}): Buffer {
  const { producer, timeoutMs, batches, nowMs } = options;
  const byTopic = Map.groupBy(batches, ({ topic }) => topic);
  const bytes = Buffer.allocUnsafe(requestBytes(producer, batches));
  let at = writeString(bytes, 0, producer.transactionalId);
  at = bytes.writeInt16BE(allInSyncReplicas, at);
  at = bytes.writeInt32BE(timeoutMs, at);
  at = bytes.writeInt32BE(byTopic.size, at);
  for (const [topic, topicBatches] of byTopic) {
    at = writeString(bytes, at, topic);
    at = bytes.writeInt32BE(topicBatches.length, at);
    for (const batch of topicBatches) {
      at = bytes.writeInt32BE(batch.partition, at);
      const sizeAt = at;
      at = writeRecordBatch(bytes, at + 4, producer, batch, nowMs);
      bytes.writeInt32BE(at - sizeAt - 4, sizeAt);
    }
  }
  return bytes.subarray(0, at);
}

/** Upper bound of the request's size. */
function requestBytes({ transactionalId }: ProducerIdentity, batches: readonly ProduceBatch[]): number {
  let bytes = 12 + Buffer.byteLength(transactionalId);
  for (const { topic, records } of batches) {
    bytes += 14 + Buffer.byteLength(topic) + batchHeaderBytes;
    for (const record of records) bytes += recordBytes(record);
  }
  return bytes;
}

/** Writes a batch of format v2 (base offset, length, epoch, magic, CRC, and what the CRC covers) and returns its end. */
function writeRecordBatch(
  bytes: Buffer,
  start: number,
  { producerId, producerEpoch }: ProducerIdentity,
  { records, firstSequence }: ProduceBatch,
  nowMs: number,
): number {
  let at = start + batchHeaderBytes;
  for (let index = 0; index < records.length; index += 1) at = writeRecord(bytes, at, records[index]!, index);
  bytes.writeBigInt64BE(0n, start); // base offset: the leader's to set
  bytes.writeInt32BE(at - start - 12, start + 8);
  bytes.writeInt32BE(0, start + 12); // partition leader epoch: the leader's to set
  bytes.writeInt8(magic, start + 16);
  bytes.writeInt16BE(transactional, start + 21);
  bytes.writeInt32BE(records.length - 1, start + 23);
  bytes.writeBigInt64BE(BigInt(nowMs), start + 27);
  bytes.writeBigInt64BE(BigInt(nowMs), start + 35);
  bytes.writeBigInt64BE(producerId, start + 43);
  bytes.writeInt16BE(producerEpoch, start + 51);
  bytes.writeInt32BE(firstSequence, start + 53);
  bytes.writeInt32BE(records.length, start + 57);
  bytes.writeUInt32BE(crc32c(bytes, start + 21, at), start + 17);
  return at;
}

function writeRecord(
  bytes: Buffer,
  start: number,
  { key, value, headers }: OutgoingRecord,
  offsetDelta: number,
): number {
  const keyBytes = Buffer.byteLength(key);
  const names = headers === undefined ? [] : Object.keys(headers);
  // Attributes and the time's delta are a byte each, both 0.
  let bodyBytes =
    2 + varintBytes(offsetDelta) + varintBytes(keyBytes) + keyBytes + varintBytes(value.length) + value.length;
  bodyBytes += varintBytes(names.length);
  for (const name of names) {
    const nameBytes = Buffer.byteLength(name);
    const valueBytes = Buffer.byteLength(headers![name]!);
    bodyBytes += varintBytes(nameBytes) + nameBytes + varintBytes(valueBytes) + valueBytes;
  }
  let at = writeVarint(bytes, start, bodyBytes);
  bytes[at] = 0;
  bytes[at + 1] = 0;
  at = writeVarint(bytes, at + 2, offsetDelta);
  at = writeVarint(bytes, at, keyBytes);
  at += bytes.write(key, at);
  at = writeVarint(bytes, at, value.length);
  at += value.copy(bytes, at);
  at = writeVarint(bytes, at, names.length);
  for (const name of names) {
    for (const text of [name, headers![name]!]) {
      at = writeVarint(bytes, at, Buffer.byteLength(text));
      at += bytes.write(text, at);
    }
  }
  return at;
}

/** Zigzag doubles what is not negative, which all lengths and deltas here are. */
function writeVarint(bytes: Buffer, start: number, value: number): number {
  let at = start;
  let rest = value * 2;
  for (; rest > 0x7f; rest >>>= 7) bytes[at++] = (rest & 0x7f) | 0x80;
  bytes[at] = rest;
  return at + 1;
}

function varintBytes(value: number): number {
  const doubled = value * 2;
  return doubled < 0x80 ? 1 : doubled < 0x4000 ? 2 : doubled < 0x20_0000 ? 3 : doubled < 0x1000_0000 ? 4 : 5;
}

function writeString(bytes: Buffer, start: number, text: string): number {
  const at = bytes.writeInt16BE(Buffer.byteLength(text), start);
  return at + bytes.write(text, at);
}
