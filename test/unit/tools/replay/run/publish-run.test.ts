// What a run publishes, against a source and a producer of this file: transactions of bounded size, the progress in each,
// the ends in the last; and that going on from any committed progress publishes every order exactly once.
import { describe, expect, it } from 'vitest';
import type { OutgoingRecord, TransactionalProducer } from '#kafka/producer/transactional-producer.ts';
import { decodeOrderPlaced } from '#schemas/codec.ts';
import { toLsn } from '#schemas/lsn.ts';
import { formatPlan, type PlannedPass, parsePlan, type ReplayPlan } from '#schemas/replay/plan.ts';
import { beginProgress, formatProgress, type Progress, parseProgress } from '#schemas/replay/progress.ts';
import {
  addToTally,
  EMPTY_TALLY,
  formatReplayEnd,
  parseReplayHeaders,
  REPLAY_PROGRESS_KEY,
  type ReplayTally,
} from '#schemas/replay/records.ts';
import { InterruptedError } from '../../../../../tools/replay/cli/errors.ts';
import { type PublishOptions, publishRun } from '../../../../../tools/replay/run/publish-run.ts';
import type { ReplaySource, SourceOrder } from '../../../../../tools/replay/sources/source.ts';
import { encodeOrderPlaced } from '../../../../support/examples/encode-order-placed.ts';
import { createEvent } from '../../../../support/examples/sink-events.ts';

const at = (position: number) => toLsn(BigInt(position));
const plan: ReplayPlan = {
  runId: '01900000-0000-7000-8000-000000000001',
  mode: 'repair',
  ruleVersion: 1,
  users: [],
  orderIds: [],
  pass: { source: 'kafka', range: { fromLsn: at(1), toLsn: at(1_000) } },
  appliedThroughLsn: at(1_000),
  isOpenEnded: true,
  why: 'a test',
  systemIdentifier: '7',
  database: 'orders',
  generation: 1,
  partitions: 3,
  ratePerSecond: null,
  survey: {
    orders: 10,
    unknown: 2,
    changing: null,
    skipped: 1,
    first: { position: '1:0/1:0', committedAt: 2n ** 50n },
    last: null,
  },
};

function makeOrders(count: number): SourceOrder[] {
  return Array.from({ length: count }, (_, index) => {
    const event = createEvent({ userId: `user-${index}`, commitLsn: at(index + 1) });
    return { partition: index % 3, key: event.userId, value: encodeOrderPlaced(event), event };
  });
}

/** Chunks of `chunk` orders; the cursor is the next index. */
function sourceOf(orders: readonly SourceOrder[], chunk: number): ReplaySource {
  return {
    kind: 'kafka',
    async *read(cursor, signal) {
      for (let index = (cursor as number | null) ?? 0; index < orders.length; index += chunk) {
        signal.throwIfAborted();
        const end = Math.min(orders.length, index + chunk);
        yield { orders: orders.slice(index, end), skipped: 1, cursor: end };
      }
    },
  };
}

/** Keeps what is committed; fails like a killed process where `failAt` says so. */
function createTopic() {
  const committed: OutgoingRecord[][] = [];
  const producer = (failAt?: 'send' | 'commit' | 'answer', nth = 1): TransactionalProducer => {
    let commits = 0;
    return {
      producerId: 1n,
      async begin() {
        const sent: OutgoingRecord[] = [];
        return {
          async send(records) {
            commits += 1;
            if (failAt === 'send' && commits === nth) throw new Error('killed');
            sent.push(...records);
            return [];
          },
          async commit() {
            if (failAt === 'commit' && commits === nth) throw new Error('killed');
            committed.push(sent);
            if (failAt === 'answer' && commits === nth) throw new Error('killed');
          },
          abort: async () => undefined,
        };
      },
      close: async () => undefined,
    };
  };
  return { committed, producer };
}

const kindOf = ({ headers = {} }: OutgoingRecord) =>
  parseReplayHeaders(Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, Buffer.from(value)])))!;

function readTopic(committed: readonly OutgoingRecord[][]) {
  const records = committed.flat();
  const ofKind = (kind: string) => records.filter((record) => kindOf(record).kind === kind);
  const newest = ofKind('progress').at(-1);
  return {
    orders: ofKind('order'),
    ends: ofKind('end'),
    progress: newest === undefined ? null : parseProgress(newest.value),
  };
}

const baseOptions = (source: ReplaySource): PublishOptions => ({
  replayTopic: 'replay',
  openPass: () => source,
  planSecondPass: async () => {
    throw new Error('nobody asked for a second pass');
  },
  onPublished: () => undefined,
  signal: new AbortController().signal,
});

describe('a run', () => {
  it('is published with key, partition and bytes as they are, progress in each transaction and an end a partition', async () => {
    const orders = makeOrders(4_500);
    const { committed, producer } = createTopic();
    const done = await publishRun(producer(), plan, null, baseOptions(sourceOf(orders, 500)));
    expect(committed.map((records) => records.length)).toEqual([2_001, 2_001, 500 + 3 + 1]);
    const topic = readTopic(committed);
    expect(topic.orders.map(({ partition, key, value }) => ({ partition, key, value }))).toEqual(
      orders.map(({ partition, key, value }) => ({ partition, key, value })),
    );
    for (const records of committed) {
      const progress = records.filter((record) => kindOf(record).kind === 'progress');
      expect(progress.map(({ partition, key }) => [partition, key])).toEqual([[0, REPLAY_PROGRESS_KEY]]);
    }
    const tallies = [0, 1, 2].map((partition) =>
      orders
        .filter((order) => order.partition === partition)
        .reduce<ReplayTally>((tally, { key, value }) => addToTally(tally, Buffer.from(key), value), EMPTY_TALLY),
    );
    expect(topic.ends.map(({ partition, value }) => [partition, value])).toEqual(
      tallies.map((tally, partition) => [partition, formatReplayEnd(tally)]),
    );
    for (const record of committed.flat()) {
      expect(kindOf(record).stamp).toEqual({ runId: plan.runId, mode: 'repair', ruleVersion: 1 });
    }
    expect(done).toMatchObject({ state: 'done', skipped: 9, cursor: 4_500 });
    expect(topic.progress).toEqual(done);
  });

  it('takes only the orders that were asked for, and still ends every partition', async () => {
    const orders = makeOrders(20);
    const some = { ...plan, users: ['user-3', 'user-4'], orderIds: [orders[4]!.event.orderId] };
    const { committed, producer } = createTopic();
    await publishRun(producer(), some, null, baseOptions(sourceOf(orders, 7)));
    const topic = readTopic(committed);
    expect(topic.orders.map(({ value }) => decodeOrderPlaced(value).userId)).toEqual(['user-4']);
    expect(topic.ends.map(({ value }) => value.toString().split(' ')[0])).toEqual(['0', '1', '0']);
  });

  it.each([
    ['send', 1],
    ['send', 2],
    ['commit', 1],
    ['commit', 2],
    ['answer', 1],
    ['answer', 2],
    ['answer', 3],
  ] as const)(
    'killed at the %s of transaction %d goes on with nothing twice and nothing missing',
    async (failAt, nth) => {
      const orders = makeOrders(4_500);
      const { committed, producer } = createTopic();
      const options = baseOptions(sourceOf(orders, 500));
      await expect(publishRun(producer(failAt, nth), plan, null, options)).rejects.toThrow('killed');
      const done = await publishRun(producer(), plan, readTopic(committed).progress, options);
      const topic = readTopic(committed);
      expect(topic.orders.map(({ value }) => value)).toEqual(orders.map(({ value }) => value));
      expect(topic.ends).toHaveLength(3);
      expect(done.state).toBe('done');
    },
  );

  it('told to stop does so between transactions, and goes on from there', async () => {
    const orders = makeOrders(4_500);
    const { committed, producer } = createTopic();
    const stop = new AbortController();
    const options = baseOptions(sourceOf(orders, 500));
    const stopping = {
      ...options,
      signal: stop.signal,
      onPublished: ({ cursor }: Progress) => {
        if (cursor === 2_000) stop.abort(new InterruptedError());
      },
    };
    await expect(publishRun(producer(), plan, null, stopping)).rejects.toThrow(InterruptedError);
    expect(committed).toHaveLength(1);
    await publishRun(producer(), plan, readTopic(committed).progress, options);
    expect(readTopic(committed).orders).toHaveLength(4_500);
  });

  it('of mode reapply without an end takes a second pass over what was applied meanwhile, and ends only then', async () => {
    const [first, second] = [makeOrders(10), makeOrders(4)];
    const { committed, producer } = createTopic();
    const reapply: ReplayPlan = { ...plan, mode: 'reapply' };
    const pass: PlannedPass = { source: 'wal', range: { fromLsn: at(1_000), toLsn: at(1_100) } };
    const opened: PlannedPass[] = [];
    let endsBefore = -1;
    const done = await publishRun(producer(), reapply, null, {
      ...baseOptions(sourceOf([], 1)),
      openPass(wanted) {
        opened.push(wanted);
        return sourceOf(wanted === pass ? second : first, 3);
      },
      async planSecondPass(progress) {
        expect(progress.state).toBe('between');
        endsBefore = readTopic(committed).ends.length;
        return pass;
      },
    });
    expect(opened).toEqual([reapply.pass, pass]);
    expect(endsBefore).toBe(0);
    expect(readTopic(committed).orders).toHaveLength(14);
    expect(readTopic(committed).ends).toHaveLength(3);
    expect(done).toMatchObject({ state: 'done', passNumber: 2 });
  });

  it('killed between its passes waits for the sinks again', async () => {
    const { committed, producer } = createTopic();
    const reapply: ReplayPlan = { ...plan, mode: 'reapply' };
    const options = baseOptions(sourceOf(makeOrders(10), 3));
    await expect(publishRun(producer(), reapply, null, options)).rejects.toThrow('nobody asked');
    const found = readTopic(committed).progress;
    expect(found?.state).toBe('between');
    await publishRun(producer(), reapply, found, { ...options, planSecondPass: async () => null });
    expect(readTopic(committed)).toMatchObject({ progress: { state: 'done' } });
    expect(readTopic(committed).orders).toHaveLength(10);
    expect(readTopic(committed).ends).toHaveLength(3);
  });

  it('that is done publishes nothing more', async () => {
    const { committed, producer } = createTopic();
    const done: Progress = { ...beginProgress(plan), state: 'done' };
    expect(await publishRun(producer(), plan, done, baseOptions(sourceOf(makeOrders(3), 1)))).toBe(done);
    expect(committed).toEqual([]);
  });
});

describe('plan and progress', () => {
  const progress: Progress = {
    ...beginProgress(plan),
    cursor: { 0: '17' },
    tallies: new Map([[2, { count: 3n, checksum: 2n ** 64n - 1n }]]),
    skipped: 2,
  };

  it('are read as they were written', () => {
    expect(parsePlan(JSON.parse(JSON.stringify(formatPlan(plan))))).toEqual(plan);
    expect(parseProgress(formatProgress(progress))).toEqual(progress);
    const tables: ReplayPlan = { ...plan, pass: { source: 'tables', range: null } };
    expect(parseProgress(formatProgress(beginProgress(tables)))).toEqual(beginProgress(tables));
  });

  it('are refused from a newer tool', () => {
    const newer = Buffer.from(formatProgress(progress).toString().replace('"version":1', '"version":2'));
    expect(() => parseProgress(newer)).toThrow('version is 2');
  });
});
