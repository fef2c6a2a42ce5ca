// What kafkajs's consumer gets of a fetch: records in sequence, the rest as control records, and what can't be read last.
import { describe, expect, it } from 'vitest';
import { toKafkajsPartition } from '#kafka/protocol/kafkajs-messages.ts';
import { type BatchShape, encodeBatches, end, send } from '../../../support/examples/record-batches.ts';

async function fetch(
  shapes: readonly (BatchShape | Buffer)[],
  {
    aborted = [],
    leftBytes = 1_000_000,
  }: { aborted?: { producerId: bigint; firstOffset: bigint }[]; leftBytes?: number } = {},
) {
  const bytes = await Promise.all(shapes.map((shape) => (Buffer.isBuffer(shape) ? shape : encodeBatches(shape))));
  const budget = { leftBytes };
  const { messages, ...partition } = toKafkajsPartition(
    'live',
    {
      partition: 2,
      errorCode: 0,
      highWatermark: 90n,
      lastStableOffset: 80n,
      preferredReadReplica: -1,
      aborted,
      batches: Buffer.concat(bytes),
    },
    budget,
  );
  const shown = messages.map(({ offset, value, isControlRecord, unreadable }) => {
    if (unreadable !== undefined) return (unreadable as Error & { code: string }).code;
    return isControlRecord ? Number(offset) : `${offset} ${value}`;
  });
  return { messages, partition, shown, budget };
}
const abortedOf = (producer: number, firstOffset: number) => ({
  producerId: BigInt(producer),
  firstOffset: BigInt(firstOffset),
});

describe('of a fetch, kafkajs is shown', () => {
  it('everything where nothing was aborted, with the fields of the partition', async () => {
    const { shown, partition } = await fetch([send(0, 1, 'a', 'b'), end(2, 1, 'commit'), send(3, 1, 'c')]);
    expect(shown).toEqual(['0 a', '1 b', 2, '3 c']);
    expect(partition).toEqual({
      partition: 2,
      errorCode: 0,
      highWatermark: '90',
      lastStableOffset: '80',
      preferredReadReplica: -1,
      abortedTransactions: [],
    });
  });

  it('nothing of transactions that overlap, listed by their ends, but their offsets', async () => {
    const shapes = [
      send(0, 1, 'a'),
      send(1, 2, 'b', 'c', 'd'),
      end(4, 2, 'abort'),
      send(5, 1, 'e'),
      end(6, 1, 'abort'),
    ];
    const { shown } = await fetch(shapes, { aborted: [abortedOf(2, 1), abortedOf(1, 0)] });
    expect(shown).toEqual([0, 1, 3, 4, 5, 6]);
  });

  it('nothing of transactions that all began before the fetch', async () => {
    const shapes = [send(9, 1, 'a'), end(10, 2, 'abort'), send(11, 3, 'b'), end(12, 3, 'abort'), end(13, 1, 'abort')];
    const { shown } = await fetch(shapes, { aborted: [abortedOf(2, 1), abortedOf(3, 2), abortedOf(1, 0)] });
    expect(shown).toEqual([9, 10, 11, 12, 13]);
  });

  it('what the same producer committed before and after, and what others wrote meanwhile', async () => {
    const shapes = [
      send(99, 1, 'before'),
      send(100, 1, 'aborted'),
      send(101, 2, 'other'),
      { ...send(102, -1, 'plain'), transactional: false },
      end(103, 1, 'abort'),
      send(104, 1, 'after'),
    ];
    const { shown } = await fetch(shapes, { aborted: [abortedOf(1, 100)] });
    expect(shown).toEqual(['99 before', 100, '101 other', '102 plain', 103, '104 after']);
  });

  it('nothing behind an aborted record whose key looks like a marker', async () => {
    const fake = { ...send(0, 1, 'a'), records: [{ key: '\0\0\0\0', value: 'a' }] };
    const { shown } = await fetch([fake, send(1, 1, 'b'), end(2, 1, 'abort')], { aborted: [abortedOf(1, 0)] });
    expect(shown).toEqual([0, 1, 2]);
  });

  it('the offsets at both ends of batches that compaction has emptied or thinned out', async () => {
    const { shown } = await fetch([
      { baseOffset: 5, records: [], lastOffsetDelta: 9 },
      { baseOffset: 15, records: [{ value: 'a' }], lastOffsetDelta: 20 },
    ]);
    expect(shown).toEqual([5, 14, '15 a', 35]);
  });

  it('the good records before a batch that can not be read, which comes last', async () => {
    const broken = await encodeBatches(send(2, 1, 'b'));
    broken.writeInt8(broken.readInt8(65) ^ 1, 65);
    const { shown, messages } = await fetch([send(0, 1, 'a', 'b'), broken, send(3, 1, 'c')]);
    expect(shown).toEqual(['0 a', '1 b', 'BATCH_UNREADABLE']);
    // Below the offset that it asked for, kafkajs would drop the message.
    expect(BigInt(messages.at(-1)!.offset)).toBe(2n ** 63n - 1n);
  });

  it('at least one batch while the response has bytes left, and nothing after that', async () => {
    const { shown, budget } = await fetch([send(0, 1, 'a'), send(1, 1, 'b')], { leftBytes: 10 });
    expect(shown).toEqual(['0 a']);
    expect(budget.leftBytes).toBeLessThan(0);
    expect((await fetch([send(0, 1, 'a')], { leftBytes: 0 })).shown).toEqual([]);
  });
});
