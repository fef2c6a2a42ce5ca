import { describe, expect, it } from 'vitest';
import { type Ownership, PartitionNotTakenError, type TopicPartition } from '../../../../cart-sink/apply/ownership.ts';
import { createMembership } from '../../../../cart-sink/consume/group-session.ts';
import { createPartitionConsumer, type PartitionEnd } from '../../../../cart-sink/consume/owned-partition.ts';
import { HOLD_LOOK_EVERY_MS } from '../../../../cart-sink/consume/replay-admission.ts';
import type { GroupHandlers, GroupPartition } from '../../../../cart-sink/kafka/group-consumer.ts';
import { encodeOrderPlaced } from '../../../../schemas/codec.ts';
import { createEvent, createStamp } from '../../../support/sink-events.ts';
import { waitFor } from '../../../support/wait.ts';

const live = (partition: number): TopicPartition => ({ topic: 'live', partition });
const own = (partition: TopicPartition, nextOffset = 5n): Ownership => ({
  ...partition,
  ownerEpoch: 1n,
  nextOffset,
  lastCommitLsn: null,
});

/** A membership whose database and broker answer when the test says so. */
function createStage(range = { earliest: 0n, highWatermark: 100n }) {
  let handlers: GroupHandlers | undefined;
  const takes: {
    partitions: readonly TopicPartition[];
    answer: (rows: readonly Ownership[]) => void;
    refuse: (error: Error) => void;
  }[] = [];
  const started: (GroupPartition & { offset: bigint })[][] = [];
  const paused: number[] = [];
  const lost: string[] = [];
  const partitionEnds: ((end: PartitionEnd) => void)[] = [];
  const partitionHolds: (() => void)[] = [];
  const applied: string[] = [];
  let closed = 0;
  const membership = createMembership({
    createConsumer: (given) => {
      handlers = given;
      return {
        start: (positions) => started.push([...positions]),
        pause: ({ partition }) => paused.push(partition),
        report: async () => undefined,
        close: async () => {
          closed += 1;
        },
      };
    },
    takeOwnership: (partitions) => {
      const { promise, resolve, reject } = Promise.withResolvers<readonly Ownership[]>();
      takes.push({ partitions, answer: resolve, refuse: reject });
      return promise;
    },
    readRanges: async () => new Map([0, 1, 2].map((partition) => [partition, range])),
    createPartition: (ownership, handlers) => {
      partitionEnds.push(handlers.onEnd);
      partitionHolds.push(() => handlers.onHeld(createStamp()));
      return createPartitionConsumer({
        ownership,
        consumerGroup: 'group',
        judgeReplay: undefined,
        limits: { maxRecords: 10, maxBytes: 1_000 },
        apply: async (batch) => {
          applied.push(`${batch.partition}: ${batch.expectedOffset} to ${batch.nextOffset}`);
          return { kind: 'applied', orders: 1, duplicates: 0, changed: 0, parked: 0 };
        },
        readEarliest: async () => 0n,
        readSettled: async () => undefined,
        onApplied: () => undefined,
        ...handlers,
      });
    },
    onHeld: () => undefined,
    onAssigned: (_, gone) => lost.push(...gone.map(({ partition }) => String(partition))),
  });
  const fetch = async (partition: number, offset: bigint): Promise<bigint[]> => {
    const passed: bigint[] = [];
    const value = encodeOrderPlaced(createEvent());
    const records = [{ offset, key: Buffer.from('user-1'), value, headers: {} }];
    const batch = { ...live(partition), firstOffset: offset, lastOffset: offset, records };
    await handlers!.onBatch(batch, (at) => passed.push(at), new AbortController().signal);
    return passed;
  };
  return {
    paused,
    partitionHolds,
    membership,
    handlers: handlers!,
    takes,
    started,
    lost,
    partitionEnds,
    applied,
    fetch,
    closed: () => closed,
  };
}

describe.concurrent('an assignment', () => {
  it('is fetched only after the database has named the owner and the offset', async () => {
    const { handlers, takes, started, applied, fetch } = createStage();
    handlers.onAssigned([live(0), live(1)]);
    expect(takes[0]!.partitions).toEqual([live(0), live(1)]);
    expect(await fetch(0, 5n)).toEqual([]);
    expect(started).toEqual([]);
    takes[0]!.answer([own(live(0)), own(live(1), 9n)]);
    await waitFor('the start', () => started.length === 1);
    expect(started[0]).toMatchObject([
      { partition: 0, offset: 5n },
      { partition: 1, offset: 9n },
    ]);
    expect(await fetch(1, 9n)).toEqual([9n]);
    expect(applied).toEqual(['1: 9 to 10']);
  });

  it('that is replaced before the database answered is forgotten', async () => {
    const { handlers, takes, started, applied, fetch } = createStage();
    handlers.onAssigned([live(0), live(1)]);
    handlers.onAssigned([live(1)]);
    takes[0]!.answer([own(live(0)), own(live(1))]);
    takes[1]!.answer([own(live(1), 7n)]);
    await waitFor('the start', () => started.length === 1);
    expect(started).toMatchObject([[{ partition: 1, offset: 7n }]]);
    expect(await fetch(0, 5n)).toEqual([]);
    expect(applied).toEqual([]);
  });

  it('takes the partitions of the one before away at once, and tells which are lost', async () => {
    const { handlers, takes, started, lost, applied, fetch } = createStage();
    handlers.onAssigned([live(0), live(1)]);
    takes[0]!.answer([own(live(0)), own(live(1))]);
    await waitFor('the start', () => started.length === 1);
    handlers.onAssigned([live(1)]);
    expect(await fetch(1, 5n)).toEqual([]);
    expect(applied).toEqual([]);
    takes[1]!.answer([own(live(1))]);
    await waitFor('the second start', () => started.length === 2);
    expect(lost).toEqual(['0']);
  });

  it('may be empty', async () => {
    const { handlers, takes, started, membership } = createStage();
    handlers.onAssigned([]);
    await waitFor('the start', () => started.length === 1);
    expect(takes).toEqual([]);
    expect(membership.partitions()).toEqual([]);
  });

  it('that the database does not give ends the membership, to be joined again, and is no halt', async () => {
    const { handlers, takes, membership, started } = createStage();
    handlers.onAssigned([live(0)]);
    const error = new PartitionNotTakenError([live(0)]);
    takes[0]!.refuse(error);
    expect(await membership.ended).toEqual({ kind: 'failed', error });
    expect(started).toEqual([]);
  });

  it('halts where records from the stored offset on are gone', async () => {
    const { handlers, takes, membership, started } = createStage({ earliest: 6n, highWatermark: 100n });
    handlers.onAssigned([live(0)]);
    takes[0]!.answer([own(live(0))]);
    expect(await membership.ended).toMatchObject({ kind: 'halted', error: { code: 'RECORDS_LOST' } });
    expect(started).toEqual([]);
  });

  it('halts where the partition ends before the stored offset, looked at three times', async () => {
    const { handlers, takes, membership } = createStage({ earliest: 0n, highWatermark: 4n });
    const beganMs = performance.now();
    handlers.onAssigned([live(0)]);
    takes[0]!.answer([own(live(0))]);
    expect(await membership.ended).toMatchObject({ kind: 'halted', error: { code: 'OFFSET_BEYOND_END' } });
    expect(performance.now() - beganMs).toBeGreaterThan(1_900);
  });
});

describe.concurrent('a membership', () => {
  it('ends once, by a stale owner of its assignment, and applies nothing more', async () => {
    const { handlers, takes, started, membership, partitionEnds, applied, fetch } = createStage();
    handlers.onAssigned([live(0), live(1)]);
    takes[0]!.answer([own(live(0)), own(live(1))]);
    await waitFor('the start', () => started.length === 1);
    partitionEnds[0]!({ kind: 'stale-owner' });
    handlers.onFailed(new Error('too late to be the reason'));
    expect(await membership.ended).toEqual({ kind: 'stale-owner', topic: 'live', partition: 0 });
    expect(await fetch(1, 5n)).toEqual([]);
    expect(applied).toEqual([]);
    handlers.onAssigned([live(2)]);
    expect(takes).toHaveLength(1);
  });

  it('does not end by a stale owner of an assignment that was replaced', async () => {
    const { handlers, takes, started, membership, partitionEnds } = createStage();
    handlers.onAssigned([live(0)]);
    takes[0]!.answer([own(live(0))]);
    await waitFor('the start', () => started.length === 1);
    handlers.onAssigned([live(0)]);
    partitionEnds[0]!({ kind: 'stale-owner' });
    membership.end({ kind: 'closed' });
    expect(await membership.ended).toEqual({ kind: 'closed' });
  });

  it('pauses a held partition, and starts it again where it stands after a while', async () => {
    const { handlers, takes, started, paused, partitionHolds, fetch, membership } = createStage();
    handlers.onAssigned([live(0), live(1)]);
    takes[0]!.answer([own(live(0)), own(live(1))]);
    await waitFor('the start', () => started.length === 1);
    await fetch(1, 5n);
    const beganMs = performance.now();
    partitionHolds[1]!();
    expect(paused).toEqual([1]);
    await waitFor('the next look', () => started.length === 2);
    expect(started[1]).toEqual([{ topic: 'live', partition: 1, offset: 6n }]);
    expect(performance.now() - beganMs).toBeGreaterThan(1_900);
    await membership.close();
  });

  it('forgets a held partition with its assignment', async () => {
    const { handlers, takes, started, paused, partitionHolds } = createStage();
    handlers.onAssigned([live(0)]);
    takes[0]!.answer([own(live(0))]);
    await waitFor('the start', () => started.length === 1);
    partitionHolds[0]!();
    handlers.onAssigned([live(1)]);
    partitionHolds[0]!();
    takes[1]!.answer([own(live(1))]);
    await waitFor('the second start', () => started.length === 2);
    await new Promise((resolve) => setTimeout(resolve, HOLD_LOOK_EVERY_MS + 200));
    expect(started).toHaveLength(2);
    expect(paused).toEqual([0]);
  });

  it('leaves the group when it is closed', async () => {
    const { membership, closed } = createStage();
    await membership.close();
    expect(await membership.ended).toEqual({ kind: 'closed' });
    expect(closed()).toBe(1);
  });
});
