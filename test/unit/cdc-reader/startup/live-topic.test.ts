// A batch in the live topic that can't be read: for the reader the topic is not what it published.
import { describe, expect, it } from 'vitest';
import { BatchTooLargeError, BatchUnreadableError } from '#kafka/protocol/batch-errors.ts';
import { openPublishedOrders } from '../../../../cdc-reader/startup/first-start/published-orders.ts';
import { readPartitionTails } from '../../../../cdc-reader/startup/live-topic.ts';

const place = { topic: 'live', partition: 2, baseOffset: 7n };

function logThatThrows(error: Error) {
  return {
    readOffsets: async () => new Map([[2, { earliest: 0n, lastStable: 9n, highWatermark: 9n }]]),
    // biome-ignore lint/correctness/useYield: it never gets that far
    async *readRecords() {
      throw error;
    },
    readTopicId: async () => null,
    close: async () => undefined,
  };
}

describe('a batch that can not be read, at the end of the live topic', () => {
  it.each([new BatchUnreadableError(place, 'its checksum does not fit'), new BatchTooLargeError(place, 1)])(
    'halts the reader as another topic than was published to: %s',
    async (error) => {
      const expected = { code: 'LIVE_TOPIC_CHANGED', details: { partition: '2', offset: '7' } };
      const tails = await readPartitionTails(logThatThrows(error), 'live', 1).catch((thrown: Error) => thrown);
      expect(tails).toMatchObject(expected);
      expect((tails as Error).message).toContain(`can't be read (${error.code}`);
      expect((tails as Error).message).toContain('`npm run adopt -- reader`');
      await expect(openPublishedOrders(logThatThrows(error), 'live', 1)).rejects.toMatchObject(expected);
    },
  );

  it('is no name for other failures', async () => {
    await expect(readPartitionTails(logThatThrows(new Error('away')), 'live', 1)).rejects.toThrow('away');
  });
});
