import { describe, expect, it } from 'vitest';
import {
  createDescribeProducersExchange,
  decodeDescribeProducers,
  encodeDescribeProducers,
} from '#kafka/protocol/describe-producers-request.ts';

const producer = (id: string, startOffset: string) =>
  [
    id,
    '00000002', // epoch
    '00000005', // last sequence
    '0000019ac0ffee00', // last timestamp
    '00000000', // coordinator epoch
    startOffset,
    '00', // tags
  ].join('');

/** One topic with two partitions, as Kafka 4.4 writes it. */
function response({ errorCode = '0000' } = {}): Buffer {
  return Buffer.from(
    [
      '00', // tags of the header
      '00000007', // throttled
      '02', // one topic
      `05${Buffer.from('live').toString('hex')}`,
      '03', // two partitions
      ['00000001', '0000', '00', '03', producer('0000000000000fa0', '0000000000000011')].join(''),
      producer('0000000000000fa1', 'ffffffffffffffff'),
      '00', // tags of the partition
      ['00000004', errorCode, '00', '01', '00'].join(''),
      '00', // tags of the topic
      '00',
    ].join(''),
    'hex',
  );
}

const refuse = (code: number) => new Error(`Kafka's error ${code}`);

describe('the request for the producers of partitions', () => {
  it('names the topic and the partitions', () => {
    expect(encodeDescribeProducers('live', [1, 4]).toString('hex')).toBe(
      ['00', '02', '05', '6c697665', '03', '00000001', '00000004', '00', '00'].join(''),
    );
  });

  it('is answered with each producer, and where its transaction is open', async () => {
    const { response: exchange } = createDescribeProducersExchange('live', [1, 4], refuse);
    const decoded = await exchange.decode(response());
    expect(decoded).toMatchObject({ clientSideThrottleTime: 7 });
    const common = { partition: 1, producerEpoch: 2, lastTimestampMs: 0x19ac0ffee00 };
    expect(await exchange.parse(decoded)).toEqual([
      { ...common, producerId: 4000n, transactionStartOffset: 17n },
      { ...common, producerId: 4001n, transactionStartOffset: -1n },
    ]);
  });

  it("throws Kafka's error of a partition", async () => {
    const { response: exchange } = createDescribeProducersExchange('live', [1, 4], refuse);
    const decoded = await exchange.decode(response({ errorCode: '001d' }));
    await expect(exchange.parse(decoded)).rejects.toThrow("Kafka's error 29");
  });

  it('takes no answer that ends too early', () => {
    // The tags that end the answer hold nothing that is read.
    for (let bytes = 0; bytes < response().length - 1; bytes += 1) {
      expect(() => decodeDescribeProducers(response().subarray(0, bytes))).toThrow(RangeError);
    }
  });
});
