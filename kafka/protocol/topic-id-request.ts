// Asks a broker for a topic's id, which Kafka gives a topic when it is created: the name of one that was deleted and created
// again is the same, its id is not. A Metadata request of version 10, the first with ids (Kafka 2.8); kafkajs ends at 6 and
// has no flexible versions, so the bytes are written and read here. Pure. Which broker is asked, and again, is log.ts's.
import type { KafkaExchange } from './cluster.ts';

export const METADATA_API_KEY = 3;
export const TOPIC_ID_VERSION = 10;

/** What a broker returns that gives its topics no ids, or does not know the topic. */
const NO_ID = '00000000-0000-0000-0000-000000000000';
const NO_TAGS = Buffer.from([0]);
const YES_NO_LENGTH = 3;

interface TopicIdResponse {
  readonly clientSideThrottleTime: number;
  readonly errorCode: number;
  /** Null where the broker gives none. */
  readonly topicId: string | null;
}

/** `fail` makes the error to throw of Kafka's error code. */
export function createTopicIdExchange(topic: string, fail: (errorCode: number) => Error): KafkaExchange<string | null> {
  return {
    request: {
      apiKey: METADATA_API_KEY,
      apiVersion: TOPIC_ID_VERSION,
      apiName: 'Metadata',
      // kafkajs expects its own encoder here, and reads these two of its fields.
      encode: async () => {
        const buffer = encodeTopicIdRequest(topic);
        return { buf: buffer, buffer };
      },
    },
    response: {
      decode: async (bytes) => decodeTopicIdResponse(bytes),
      parse: async (decoded) => {
        const { errorCode, topicId } = decoded as TopicIdResponse;
        if (errorCode !== 0) throw fail(errorCode);
        return topicId;
      },
    },
  };
}

/** The body behind kafkajs's request header, which lacks the tags that a flexible version ends it with. */
export function encodeTopicIdRequest(topic: string): Buffer {
  const name = Buffer.from(topic, 'utf8');
  const anyId = Buffer.alloc(16);
  const neither = Buffer.alloc(YES_NO_LENGTH); // create no topic, return no authorized operations
  return Buffer.concat([NO_TAGS, varint(2), anyId, varint(name.length + 1), name, NO_TAGS, neither, NO_TAGS]);
}

/** @throws RangeError if the bytes end too early */
export function decodeTopicIdResponse(bytes: Buffer): TopicIdResponse {
  let at = 0;
  const skip = (count: number): void => {
    at += count;
  };
  const readVarint = (): number => {
    let value = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = bytes.readUInt8(at);
      at += 1;
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
    throw new RangeError('a length in the Metadata response is longer than 32 bits');
  };
  const skipBytes = (): void => skip(Math.max(0, readVarint() - 1));
  const skipTags = (): void => {
    for (let left = readVarint(); left > 0; left -= 1) {
      readVarint();
      skip(readVarint());
    }
  };
  skipTags(); // of the response header
  const clientSideThrottleTime = bytes.readInt32BE(at);
  skip(4);
  for (let left = readVarint() - 1; left > 0; left -= 1) {
    skip(4); // node
    skipBytes(); // host
    skip(4); // port
    skipBytes(); // rack
    skipTags();
  }
  skipBytes(); // cluster
  skip(4); // controller
  if (readVarint() - 1 < 1) throw new RangeError('the Metadata response names no topic');
  const errorCode = bytes.readInt16BE(at);
  skip(2);
  skipBytes(); // name
  if (at + 16 > bytes.length) throw new RangeError('the Metadata response ends inside a topic id');
  const topicId = formatUuid(bytes.subarray(at, at + 16));
  return { clientSideThrottleTime, errorCode, topicId: topicId === NO_ID ? null : topicId };
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let left = value;
  for (; left >= 0x80; left >>>= 7) bytes.push((left & 0x7f) | 0x80);
  return Buffer.from([...bytes, left]);
}

/** As Postgres writes a uuid; Kafka's own tools write the same bytes in base64. */
function formatUuid(bytes: Buffer): string {
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}
