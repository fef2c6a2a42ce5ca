import { describe, expect, it } from 'vitest';
import type { GroupPartition } from '#kafka/reading/fetched-batch.ts';
import type { GroupHandlers } from '#kafka/reading/group-consumer.ts';
import type { HaltError } from '#service/halt.ts';
import { GroupSession, PAUSE_MS } from '../../../../cart-sink/consume/group-session.ts';
import { OwnedPartition, type PartitionEnd } from '../../../../cart-sink/consume/owned-partition.ts';
import { PartitionNotTakenError, UnknownEventSchemaError } from '../../../../cart-sink/errors.ts';
import type { Ownership, TopicPartition } from '../../../../cart-sink/sql/consumer-offsets.ts';
import { encodeOrderPlaced } from '../../../support/examples/encode-order-placed.ts';
import { createEvent, createStamp } from '../../../support/examples/sink-events.ts';
import { waitFor } from '../../../support/wait.ts';

const live = (partition: number): TopicPartition => ({ topic: 'live', partition });
const own = (partition: TopicPartition, nextOffset = 5n): Ownership => ({
  ...partition,
  ownerEpoch: 1n,
  nextOffset,
  lastCommitLsn: null,
  topicId: null,
});

/** A session whose database and broker answer when the test says so. */
function createStage(
  range = { earliest: 0n, highWatermark: 100n },
  applying: () => Promise<void> = async () => undefined,
) {
  let handlers: GroupHandlers | undefined;
  const takes: {
    partitions: readonly TopicPartition[];
    answer: (rows: readonly Ownership[]) => void;
    refuse: (error: Error) => void;
  }[] = [];
  const started: (GroupPartition & { offset: bigint })[][] = [];
  const paused: number[] = [];
  const halted: string[] = [];
  const lost: string[] = [];
  const partitionEnds: ((end: PartitionEnd) => void)[] = [];
  const partitionHalts: ((error: HaltError) => void)[] = [];
  const partitionPauses: (() => void)[] = [];
  const applied: string[] = [];
  let closed = 0;
  const session = new GroupSession({
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
    readTopicId: async () => null,
    recordTopicIds: async () => undefined,
    onTopicIdUnknown: () => undefined,
    createPartition: (ownership, handlers) => {
      partitionEnds.push(handlers.onEnd);
      partitionHalts.push(handlers.onHalted);
      partitionPauses.push(() => handlers.onPaused({ ...createStamp(), why: 'other-rule' }));
      return new OwnedPartition({
        ownership,
        consumerGroup: 'group',
        admitReplay: undefined,
        limits: { maxRecords: 10, maxBytes: 1_000 },
        apply: async (batch) => {
          applied.push(`${batch.partition}: ${batch.expectedOffset} to ${batch.nextOffset}`);
          await applying();
          return { kind: 'applied', orders: 1, duplicates: 0, changed: 0, parked: 0 };
        },
        readStored: async () => undefined,
        findUnapplied: async () => null,
        onApplied: () => undefined,
        ...handlers,
      });
    },
    onPaused: () => undefined,
    onHalted: ({ partition }, { code }) => halted.push(`${partition}: ${code}`),
    onAssigned: (_, gone) => lost.push(...gone.map(({ partition }) => String(partition))),
  });
  const send = (partition: number, offset: bigint): Promise<void> => {
    const value = encodeOrderPlaced(createEvent());
    const records = [{ offset, key: Buffer.from('user-1'), value, headers: {} }];
    return handlers!.onBatch({ ...live(partition), firstOffset: offset, lastOffset: offset, records });
  };
  /** Resolves when the fetch is done with. */
  const fetch = async (partition: number, offset: bigint): Promise<void> => {
    await send(partition, offset);
    await Promise.all(session.partitions().map((one) => one.idle()));
  };
  return {
    paused,
    halted,
    partitionHalts,
    partitionPauses,
    session,
    handlers: handlers!,
    takes,
    started,
    lost,
    partitionEnds,
    applied,
    send,
    fetch,
    closed: () => closed,
  };
}

describe.concurrent('an assignment', () => {
  it('is fetched only after the database has named the owner and the offset', async () => {
    const { handlers, takes, started, applied, fetch } = createStage();
    handlers.onAssigned([live(0), live(1)]);
    expect(takes[0]!.partitions).toEqual([live(0), live(1)]);
    await fetch(0, 5n);
    expect([started, applied]).toEqual([[], []]);
    takes[0]!.answer([own(live(0)), own(live(1), 9n)]);
    await waitFor('the start', () => started.length === 1);
    expect(started[0]).toMatchObject([
      { partition: 0, offset: 5n },
      { partition: 1, offset: 9n },
    ]);
    await fetch(1, 9n);
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
    await fetch(0, 5n);
    expect(applied).toEqual([]);
  });

  it('takes the partitions of the one before away at once, and tells which are lost', async () => {
    const { handlers, takes, started, lost, applied, fetch } = createStage();
    handlers.onAssigned([live(0), live(1)]);
    takes[0]!.answer([own(live(0)), own(live(1))]);
    await waitFor('the start', () => started.length === 1);
    handlers.onAssigned([live(1)]);
    await fetch(1, 5n);
    expect(applied).toEqual([]);
    takes[1]!.answer([own(live(1))]);
    await waitFor('the second start', () => started.length === 2);
    expect(lost).toEqual(['0']);
  });

  it('is applied no further from a rebalance on, until the next one', async () => {
    const { handlers, takes, started, applied, fetch } = createStage();
    handlers.onAssigned([live(0)]);
    takes[0]!.answer([own(live(0))]);
    await waitFor('the start', () => started.length === 1);
    handlers.onRebalancing();
    await fetch(0, 5n);
    expect(applied).toEqual([]);
    handlers.onAssigned([live(0)]);
    takes[1]!.answer([own(live(0))]);
    await waitFor('the second start', () => started.length === 2);
    await fetch(0, 5n);
    expect(applied).toEqual(['0: 5 to 6']);
  });

  it('lets the next fetch of a partition come while one is applied, and no more', async () => {
    const applying = Promise.withResolvers<void>();
    const { handlers, takes, started, send } = createStage(undefined, () => applying.promise);
    handlers.onAssigned([live(0)]);
    takes[0]!.answer([own(live(0))]);
    await waitFor('the start', () => started.length === 1);
    await send(0, 5n);
    let mayFetch = false;
    const second = send(0, 6n).then(() => {
      mayFetch = true;
    });
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(mayFetch).toBe(false);
    applying.resolve();
    await second;
  });

  it('may be empty', async () => {
    const { handlers, takes, started, session } = createStage();
    handlers.onAssigned([]);
    await waitFor('the start', () => started.length === 1);
    expect(takes).toEqual([]);
    expect(session.partitions()).toEqual([]);
  });

  it('that the database does not give ends the session, to be joined again, and is no halt', async () => {
    const { handlers, takes, session, started } = createStage();
    handlers.onAssigned([live(0)]);
    const error = new PartitionNotTakenError([live(0)]);
    takes[0]!.refuse(error);
    expect(await session.ended).toEqual({ kind: 'failed', error });
    expect(started).toEqual([]);
  });

  it('halts the one partition whose records from the stored offset on are gone, and fetches the others', async () => {
    const { handlers, takes, started, halted, session } = createStage({ earliest: 6n, highWatermark: 10n });
    handlers.onAssigned([live(0), live(1)]);
    takes[0]!.answer([own(live(0), 5n), own(live(1), 7n)]);
    await waitFor('the start', () => started.length === 1);
    expect(started[0]).toMatchObject([{ partition: 1, offset: 7n }]);
    expect(halted).toEqual(['0: RECORDS_LOST']);
    expect(session.partitions().map((one) => one.halted()?.code)).toEqual(['RECORDS_LOST', undefined]);
  });

  it('goes on with the others when one partition halts later, which is paused and takes nothing more', async () => {
    const { handlers, takes, started, halted, paused, partitionHalts, fetch, applied } = createStage();
    handlers.onAssigned([live(0), live(1)]);
    takes[0]!.answer([own(live(0)), own(live(1))]);
    await waitFor('the start', () => started.length === 1);
    partitionHalts[0]!(new UnknownEventSchemaError({ ...live(0), offset: 5n }, new Error('unknown')));
    expect([paused, halted]).toEqual([[0], ['0: UNKNOWN_SCHEMA']]);
    await fetch(1, 5n);
    expect(applied).toEqual(['1: 5 to 6']);
  });

  it('halts where the partition ends before the stored offset, checked three times', async () => {
    const { handlers, takes, session } = createStage({ earliest: 0n, highWatermark: 4n });
    const beganMs = performance.now();
    handlers.onAssigned([live(0)]);
    takes[0]!.answer([own(live(0))]);
    expect(await session.ended).toMatchObject({ kind: 'halted', error: { code: 'OFFSET_BEYOND_END' } });
    expect(performance.now() - beganMs).toBeGreaterThan(1_900);
  });
});

describe.concurrent('a consumer-group session', () => {
  it('ends where Kafka does not have the next offset: the next takeover decides what that means', async () => {
    const { handlers, takes, started, session } = createStage();
    handlers.onAssigned([live(0)]);
    takes[0]!.answer([own(live(0))]);
    await waitFor('the start', () => started.length === 1);
    handlers.onOutOfRange(live(0));
    expect(await session.ended).toEqual({ kind: 'out-of-step', topic: 'live', partition: 0 });
  });

  it('ends once, by a stale owner of its assignment, and applies nothing more', async () => {
    const { handlers, takes, started, session, partitionEnds, applied, fetch } = createStage();
    handlers.onAssigned([live(0), live(1)]);
    takes[0]!.answer([own(live(0)), own(live(1))]);
    await waitFor('the start', () => started.length === 1);
    partitionEnds[0]!({ kind: 'stale-owner', ...live(0) });
    handlers.onFailed(new Error('too late to be the reason'));
    expect(await session.ended).toEqual({ kind: 'stale-owner', topic: 'live', partition: 0 });
    await fetch(1, 5n);
    expect(applied).toEqual([]);
    handlers.onAssigned([live(2)]);
    expect(takes).toHaveLength(1);
  });

  it('does not end by a stale owner of an assignment that was replaced', async () => {
    const { handlers, takes, started, session, partitionEnds } = createStage();
    handlers.onAssigned([live(0)]);
    takes[0]!.answer([own(live(0))]);
    await waitFor('the start', () => started.length === 1);
    handlers.onAssigned([live(0)]);
    partitionEnds[0]!({ kind: 'stale-owner', ...live(0) });
    session.end({ kind: 'closed' });
    expect(await session.ended).toEqual({ kind: 'closed' });
  });

  it('stops fetching a paused partition, and starts it again where it stands after a while', async () => {
    const { handlers, takes, started, paused, partitionPauses, fetch, session } = createStage();
    handlers.onAssigned([live(0), live(1)]);
    takes[0]!.answer([own(live(0)), own(live(1))]);
    await waitFor('the start', () => started.length === 1);
    await fetch(1, 5n);
    const beganMs = performance.now();
    partitionPauses[1]!();
    expect(paused).toEqual([1]);
    await waitFor('the next start', () => started.length === 2);
    expect(started[1]).toEqual([{ topic: 'live', partition: 1, offset: 6n }]);
    expect(performance.now() - beganMs).toBeGreaterThan(1_900);
    await session.close();
  });

  it('forgets a paused partition with its assignment', async () => {
    const { handlers, takes, started, paused, partitionPauses } = createStage();
    handlers.onAssigned([live(0)]);
    takes[0]!.answer([own(live(0))]);
    await waitFor('the start', () => started.length === 1);
    partitionPauses[0]!();
    handlers.onAssigned([live(1)]);
    partitionPauses[0]!();
    takes[1]!.answer([own(live(1))]);
    await waitFor('the second start', () => started.length === 2);
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS + 200));
    expect(started).toHaveLength(2);
    expect(paused).toEqual([0]);
  });

  it('leaves the group when it is closed', async () => {
    const { session, closed } = createStage();
    await session.close();
    expect(await session.ended).toEqual({ kind: 'closed' });
    expect(closed()).toBe(1);
  });
});
