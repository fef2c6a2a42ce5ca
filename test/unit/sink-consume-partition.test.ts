// One owned partition: which fetches are applied, which are old and dropped, and which end it (I8, I11).
import { describe, expect, it } from 'vitest';
import { createPartitionConsumer, type PartitionEnd } from '../../cart-sink/consume-partition.ts';
import { OffsetWentBackError, RecordsLostError } from '../../cart-sink/errors.ts';

function createPartition(options: { nextOffset: bigint; earliest?: bigint }) {
  const applied: string[] = [];
  const told: bigint[] = [];
  const ends: PartitionEnd[] = [];
  const partition = createPartitionConsumer({
    ownership: {
      topic: 'live',
      partition: 0,
      ownerEpoch: 1n,
      nextOffset: options.nextOffset,
      lastCommitLsn: '0/16B3748',
    },
    consumerGroup: 'cart-sink',
    live: true,
    limits: { maxRecords: 100, maxBytes: 1_000_000 },
    apply: async ({ expectedOffset, nextOffset }) => {
      applied.push(`${expectedOffset}-${nextOffset}`);
      return { kind: 'applied', orders: 0, duplicates: 0, parked: 0 };
    },
    readEarliest: async () => options.earliest ?? 0n,
    onApplied: () => undefined,
    onEnd: (end) => ends.push(end),
  });
  return {
    applied,
    told,
    ends,
    position: partition.position,
    /** A fetch of control records only, which are consumed like any other. */
    fetch: (firstOffset: bigint, lastOffset: bigint) =>
      partition.consume(
        { firstOffset, lastOffset, records: [] },
        (last) => told.push(last),
        new AbortController().signal,
      ),
  };
}

describe('a fetch that was consumed already', () => {
  it('is dropped, as kafkajs delivers it when a leader moves, and the client told where to go on', async () => {
    const { applied, ends, fetch, told } = createPartition({ nextOffset: 100n });
    await fetch(100n, 109n);
    await fetch(100n, 109n);
    await fetch(105n, 119n);
    await fetch(110n, 119n);
    await fetch(110n, 119n);
    await fetch(110n, 119n);
    await fetch(120n, 120n);
    expect(applied).toEqual(['100-110', '110-120', '120-121']);
    expect(told).toEqual([109n, 109n, 109n, 119n, 119n, 119n, 120n]);
    expect(ends).toEqual([]);
  });

  it('is a jump back when it comes again and again: the offset is out of range, and the partition ends', async () => {
    const { applied, ends, fetch, position } = createPartition({ nextOffset: 100n });
    for (let round = 0; round < 5; round += 1) await fetch(0n, 9n);
    await fetch(100n, 109n);
    expect(ends).toEqual([{ kind: 'failed', error: expect.any(OffsetWentBackError) }]);
    expect([applied, position()]).toEqual([[], 100n]);
  });
});

describe('a fetch above the next offset', () => {
  it('passes what is control or aborted records', async () => {
    const { applied, ends, fetch } = createPartition({ nextOffset: 100n, earliest: 100n });
    await fetch(103n, 109n);
    expect([applied, ends]).toEqual([['100-110'], []]);
  });

  it('ends the partition where records before it were deleted', async () => {
    const { applied, ends, fetch } = createPartition({ nextOffset: 100n, earliest: 101n });
    await fetch(103n, 109n);
    await fetch(100n, 109n);
    expect([applied, ends]).toEqual([[], [{ kind: 'failed', error: expect.any(RecordsLostError) }]]);
  });
});
