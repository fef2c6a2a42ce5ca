import { describe, expect, it } from 'vitest';
import { decodeTopicIdResponse, encodeTopicIdRequest } from '#kafka/protocol/topic-id-request.ts';

const id = '0123456789abcdef0123456789abcdef';

/** A response of Metadata version 10 with one broker and one topic, as Kafka 4.4 writes it, without the partitions. */
function response(options: { errorCode?: string; id?: string; topics?: string } = {}): Buffer {
  return Buffer.from(
    [
      '00', // tags of the header
      '00000007', // throttled
      ['02', '00000001', `0a${Buffer.from('localhost').toString('hex')}`, '00002384', '00', '00'].join(''),
      `04${Buffer.from('abc').toString('hex')}`, // cluster
      '00000001', // controller
      options.topics ?? '02',
      options.errorCode ?? '0000',
      `05${Buffer.from('live').toString('hex')}`,
      options.id ?? id,
      '00',
    ].join(''),
    'hex',
  );
}

describe('the request for the id of a topic', () => {
  it('names the topic, and asks for nothing to be created', () => {
    expect(encodeTopicIdRequest('live').toString('hex')).toBe(
      ['00', '02', '0'.repeat(32), '05', '6c697665', '00', '000000', '00'].join(''),
    );
  });

  it('is answered with the id behind brokers and cluster', () => {
    expect(decodeTopicIdResponse(response())).toEqual({
      clientSideThrottleTime: 7,
      errorCode: 0,
      topicId: '01234567-89ab-cdef-0123-456789abcdef',
    });
  });

  it('has no answer where the broker gives topics no ids', () => {
    expect(decodeTopicIdResponse(response({ id: '0'.repeat(32) })).topicId).toBeNull();
  });

  it("keeps Kafka's error code", () => {
    expect(decodeTopicIdResponse(response({ errorCode: '0003' })).errorCode).toBe(3);
  });

  it('takes no answer that ends too early, or that names no topic', () => {
    for (let bytes = 0; bytes < response().length - 1; bytes += 1) {
      expect(() => decodeTopicIdResponse(response().subarray(0, bytes))).toThrow(RangeError);
    }
    expect(() => decodeTopicIdResponse(response({ topics: '01' }))).toThrow(RangeError);
  });
});
