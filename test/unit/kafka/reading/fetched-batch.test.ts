// What a fetch of one partition brings: records in sequence, the offsets of the rest, and what can't be read.
import { describe, expect, it } from 'vitest';
import { toFetchedBatch } from '#kafka/reading/fetched-batch.ts';
import { type BatchShape, encodeBatches, end, send } from '../../../support/examples/record-batches.ts';

async function fetch(
  shapes: readonly (BatchShape | Buffer)[],
  {
    aborted = [],
    leftBytes = 1_000_000,
    fromOffset = 0,
  }: { aborted?: { producerId: bigint; firstOffset: bigint }[]; leftBytes?: number; fromOffset?: number } = {},
) {
  const bytes = await Promise.all(shapes.map((shape) => (Buffer.isBuffer(shape) ? shape : encodeBatches(shape))));
  const budget = { leftBytes };
  const fetched = { partition: 2, errorCode: 0, aborted, batches: Buffer.concat(bytes) };
  const batch = toFetchedBatch('live', fetched, BigInt(fromOffset), budget);
  const shown = batch && {
    records: batch.records.map(({ offset, value }) => `${offset} ${value}`),
    range: [Number(batch.firstOffset), Number(batch.lastOffset)],
  };
  return { batch, shown, budget };
}
const abortedOf = (producer: number, firstOffset: number) => ({
  producerId: BigInt(producer),
  firstOffset: BigInt(firstOffset),
});

describe('of a fetch, the sink is shown', () => {
  it('everything where nothing was aborted, with its place and the leaders that appended it', async () => {
    const { shown, batch } = await fetch([send(0, 1, 'a', 'b'), end(2, 1, 'commit'), send(3, 1, 'c')]);
    expect(shown).toEqual({ records: ['0 a', '1 b', '3 c'], range: [0, 3] });
    expect(batch).toMatchObject({ topic: 'live', partition: 2, leaderEpochs: { first: 0, last: 0 } });
  });

  it('nothing of transactions that overlap, listed by their ends, but their offsets', async () => {
    const shapes = [
      send(0, 1, 'a'),
      send(1, 2, 'b', 'c', 'd'),
      end(4, 2, 'abort'),
      send(5, 1, 'e'),
      end(6, 1, 'abort'),
    ];
    const { shown, batch } = await fetch(shapes, { aborted: [abortedOf(2, 1), abortedOf(1, 0)] });
    expect(shown).toEqual({ records: [], range: [0, 6] });
    expect(batch!.leaderEpochs).toBeUndefined();
  });

  it('nothing of transactions that all began before the fetch', async () => {
    const shapes = [send(9, 1, 'a'), end(10, 2, 'abort'), send(11, 3, 'b'), end(12, 3, 'abort'), end(13, 1, 'abort')];
    const aborted = [abortedOf(2, 1), abortedOf(3, 2), abortedOf(1, 0)];
    expect((await fetch(shapes, { aborted, fromOffset: 9 })).shown).toEqual({ records: [], range: [9, 13] });
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
    const { shown } = await fetch(shapes, { aborted: [abortedOf(1, 100)], fromOffset: 99 });
    expect(shown!.records).toEqual(['99 before', '101 other', '102 plain', '104 after']);
  });

  it('nothing behind an aborted record whose key looks like a marker', async () => {
    const fake = { ...send(0, 1, 'a'), records: [{ key: '\0\0\0\0', value: 'a' }] };
    const { shown } = await fetch([fake, send(1, 1, 'b'), end(2, 1, 'abort')], { aborted: [abortedOf(1, 0)] });
    expect(shown).toEqual({ records: [], range: [0, 2] });
  });

  it('the offsets up to the end of batches that compaction has emptied or thinned out', async () => {
    const shapes: BatchShape[] = [
      { baseOffset: 5, records: [], lastOffsetDelta: 9 },
      { baseOffset: 15, records: [{ value: 'a' }], lastOffsetDelta: 20 },
    ];
    expect((await fetch(shapes)).shown).toEqual({ records: ['15 a'], range: [0, 35] });
    expect((await fetch(shapes.slice(0, 1), { fromOffset: 5 })).shown).toEqual({ records: [], range: [5, 14] });
  });

  it('what comes at and after the wanted offset, of a batch that begins before it', async () => {
    const { shown } = await fetch([send(0, 1, 'a'), send(1, 1, 'b', 'c', 'd')], { fromOffset: 2 });
    expect(shown).toEqual({ records: ['2 c', '3 d'], range: [2, 3] });
  });

  it('nothing where no batch is complete', async () => {
    const whole = await encodeBatches(send(0, 1, 'a'));
    expect((await fetch([whole.subarray(0, whole.length - 1)])).batch).toBeUndefined();
    expect((await fetch([])).batch).toBeUndefined();
  });

  it('the good records before a batch that can not be read', async () => {
    const broken = await encodeBatches(send(2, 1, 'b'));
    broken.writeInt8(broken.readInt8(65) ^ 1, 65);
    const { shown, batch } = await fetch([send(0, 1, 'a', 'b'), broken, send(3, 1, 'c')]);
    expect(shown).toEqual({ records: ['0 a', '1 b'], range: [0, 1] });
    expect(batch).toMatchObject({ unreadable: { code: 'BATCH_UNREADABLE' } });
    const first = await fetch([broken], { fromOffset: 2 });
    expect(first.shown).toEqual({ records: [], range: [2, 1] });
    expect(first.batch).toMatchObject({ unreadable: { code: 'BATCH_UNREADABLE' } });
  });

  it('at least one batch while the response has bytes left, and nothing after that', async () => {
    const { shown, budget } = await fetch([send(0, 1, 'a'), send(1, 1, 'b')], { leftBytes: 10 });
    expect(shown).toEqual({ records: ['0 a'], range: [0, 0] });
    expect(budget.leftBytes).toBeLessThan(0);
    expect((await fetch([send(0, 1, 'a')], { leftBytes: 0 })).batch).toBeUndefined();
  });
});
