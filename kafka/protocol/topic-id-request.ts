// Asks a broker for a topic's id, which Kafka gives a topic when it is created: the name of one that was deleted and created
// again is the same, its id is not. A Metadata request of version 10, the first with ids (Kafka 2.8); kafkajs ends at 6 and
// has no flexible versions, so the bytes are written and read here. Pure. Which broker is asked, and again, is log.ts's.
import type { KafkaExchange } from './cluster.ts';
import { CompactReader, encodeCompactString, encodeVarint, NO_TAGS } from './compact-bytes.ts';

export const METADATA_API_KEY = 3;
export const TOPIC_ID_VERSION = 10;

/** What a broker returns that gives its topics no ids, or does not know the topic. */
const NO_ID = '00000000-0000-0000-0000-000000000000';
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
  const anyId = Buffer.alloc(16);
  const neither = Buffer.alloc(YES_NO_LENGTH); // create no topic, return no authorized operations
  return Buffer.concat([NO_TAGS, encodeVarint(2), anyId, encodeCompactString(topic), NO_TAGS, neither, NO_TAGS]);
}

/** @throws RangeError if the bytes end too early */
export function decodeTopicIdResponse(bytes: Buffer): TopicIdResponse {
  const reader = new CompactReader(bytes);
  reader.skipTags(); // of the response header
  const clientSideThrottleTime = reader.int32();
  reader.array(() => {
    reader.int32(); // node
    reader.string(); // host
    reader.int32(); // port
    reader.string(); // rack
  });
  reader.string(); // cluster
  reader.int32(); // controller
  if (reader.varint() - 1 < 1) throw new RangeError('the Metadata response names no topic');
  const errorCode = reader.int16();
  reader.string(); // name
  const topicId = formatUuid(reader.take(16));
  return { clientSideThrottleTime, errorCode, topicId: topicId === NO_ID ? null : topicId };
}

/** As Postgres writes a uuid; Kafka's own tools write the same bytes in base64. */
function formatUuid(bytes: Buffer): string {
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}
