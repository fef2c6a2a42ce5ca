// What adopting a halt of the reader comes to: the gap, the new generation, the checkpoint and the command that closes the
// gap, as tables.
import { describe, expect, it } from 'vitest';
import { type Checkpoint, formatCheckpoint, parseCheckpoint } from '#schemas/checkpoint.ts';
import { LSN_ZERO, type Lsn, toLsn } from '#schemas/lsn.ts';
import { orderPartition } from '#schemas/partition.ts';
import { SlotDroppedError } from '../../../../../cdc-reader/errors.ts';
import { checkContinuity } from '../../../../../cdc-reader/startup/continuity.ts';
import type { EventTail } from '../../../../../cdc-reader/startup/live-topic.ts';
import { formatReaderDone, formatReaderPlan } from '../../../../../tools/adopt/reader/format-plan.ts';
import { addGap, findDivergence, findUnapplied } from '../../../../../tools/adopt/reader/gap.ts';
import {
  buildCheckpoint,
  findPartitionsInUse,
  planReader,
  type ReaderFacts,
} from '../../../../../tools/adopt/reader/plan-reader.ts';
import { exampleCapture, exampleTable } from '../../../../support/examples/capture.ts';
import { advancedCheckpoint } from '../../../../support/examples/checkpoint.ts';
import { createEvent } from '../../../../support/examples/order-placed-events.ts';

/** After both tables were replaced. */
const other = exampleCapture({
  tables: {
    orders: exampleTable('orders', { oid: 20_000 }),
    order_items: exampleTable('order_items', { oid: 20_001 }),
  },
});

const at = (value: number): Lsn => toLsn(BigInt(value));

const checkpoint = advancedCheckpoint({ generation: 3, windowMarks: [{ atMs: 1, throughLsn: at(1_100) }] });
const event = (commitLsn: number, ordinal: number, changes = {}) =>
  createEvent({ timeline: 2, generation: 3, commitLsn: at(commitLsn), ordinal, ...changes });
const live: EventTail[] = [
  { partition: 0, earliest: 0n, end: 10n, newest: event(900, 0) },
  { partition: 1, earliest: 0n, end: 22n, newest: event(1_000, 1) },
];
const facts: ReaderFacts = {
  identity: {
    systemIdentifier: checkpoint.systemIdentifier,
    database: 'shop',
    timeline: 2,
    history: checkpoint.history,
    flushLsn: at(5_000),
    serverVersion: 180_000,
  },
  flushLsn: at(5_000),
  slotExists: false,
  capture: exampleCapture(),
  tableNames: new Map(),
  checkpoint,
  halt: new SlotDroppedError('tillstream', at(1_200), at(5_000)),
  lastOrderExists: true,
  live,
  liveTopicId: null,
};
const empty: EventTail[] = [0, 1].map((partition) => ({ partition, earliest: 0n, end: 0n, newest: null }));

describe('the gap of a reader', () => {
  const promoted = (timeline: number, ...ends: number[]) => ({
    identity: {
      ...facts.identity,
      timeline,
      history: ends.map((end, index) => ({ timeline: index + 1, endsAtLsn: at(end) })),
    },
  });
  it.each<[string, Partial<ReaderFacts>, number]>([
    ['begins where publishing ended', {}, 1_200],
    ['is everything without a checkpoint', { checkpoint: null }, 0],
    ['begins where a promoted server left the line that was published from', promoted(3, 500, 1_100), 1_100],
    ['begins where publishing ended when the server was promoted later', promoted(3, 500, 2_000), 1_200],
    ['begins where both lines part when the recorded timeline is not in the history', promoted(4, 500, 600, 700), 600],
    ['begins behind the last published order on a server that was restored', { flushLsn: at(1_100) }, 1_001],
    ['begins behind the last published order when nothing is seen to be wrong', { halt: null }, 1_001],
    [
      'is everything when nothing was published and nothing is seen to be wrong',
      {
        halt: null,
        checkpoint: { ...checkpoint, lastPublished: null, nextOffsets: [] },
        live: empty,
        lastOrderExists: null,
      },
      0,
    ],
  ])('%s', (_, change, from) => {
    expect(planReader({ ...facts, ...change })).toMatchObject({ gapFrom: at(from), newGeneration: null });
  });
});

describe('a new generation', () => {
  it.each<[string, Partial<ReaderFacts>, RegExp]>([
    ['when the live topic is missing', { live: null }, /does not exist/],
    ['when something else writes to it', { live: 'unreadable' }, /something else/],
    ['when it was recreated', { live: empty }, /was recreated/],
    ['when it lost its end', { live: [live[0]!, { ...live[1]!, end: 19n }] }, /was recreated/],
    ['when it lost partitions', { live: live.slice(0, 1) }, /was recreated/],
    ['when it ends with an order that is not there', { lastOrderExists: false }, /is missing from the database/],
    ['when the server is behind its newest event', { flushLsn: at(1_000) }, /would go back/],
    [
      'when the server is on an older timeline',
      { identity: { ...facts.identity, timeline: 1, history: [] } },
      /would go back/,
    ],
    ['when there is no checkpoint and the server is behind', { checkpoint: null, flushLsn: at(900) }, /would go back/],
    [
      'when the next position could be the very one of its newest event',
      { checkpoint: null, flushLsn: at(900), live: live.slice(0, 1) },
      /would go back/,
    ],
  ])('begins %s, and all of it counts as not published', (_, change, why) => {
    const plan = planReader({ ...facts, ...change });
    expect(plan.newGeneration).toMatch(why);
    expect(plan.gapFrom).toBe(LSN_ZERO);
  });

  it('does not begin for a topic whose newest events have expired', () => {
    const expired = live.map((tail) => ({ ...tail, earliest: tail.end, newest: null }));
    expect(planReader({ ...facts, live: expired }).newGeneration).toBeNull();
  });
});

describe('the checkpoint that is written', () => {
  const made = {
    slotName: 'tillstream',
    consistentPoint: at(6_000),
    capture: other,
    live,
    generation: 3,
    liveTopicId: 'new',
  };
  const afterAdoption = (written: Checkpoint, tails: readonly EventTail[]) =>
    checkContinuity(written, {
      isNewest: true,
      source: { ...facts.identity, flushLsn: at(6_100) },
      slot: {
        name: 'tillstream',
        plugin: 'pgoutput',
        database: 'shop',
        confirmedFlushLsn: at(6_000),
        walStatus: 'reserved',
        invalidationReason: null,
      },
      capture: { publicationName: 'shop', found: other, names: new Map() },
      lastOrderExists: written.lastPublished === null ? null : true,
      live: tails,
      liveTopicId: 'new',
    });

  it('goes on in the same topic, from the new slot, with the gap', () => {
    const written = buildCheckpoint(facts, planReader(facts), made);
    expect(written).toMatchObject({
      throughLsn: at(6_000),
      generation: 3,
      partitions: 2,
      lastPublished: checkpoint.lastPublished,
      gaps: [{ fromLsn: at(1_200), toLsn: at(6_000) }],
      windowMarks: [],
      capture: other,
    });
    expect(afterAdoption(written, live).checkpoint.throughLsn).toBe(at(6_000));
    expect(parseCheckpoint(formatCheckpoint(written))).toEqual(written);
  });

  it('forgets a transaction that was published in part: the gap has it', () => {
    const partial = { commitLsn: at(1_200), ordinal: 7 };
    const change = { ...facts, checkpoint: { ...checkpoint, partial } };
    expect(buildCheckpoint(change, planReader(change), made).partial).toBeNull();
  });

  it('of a new generation knows nothing of the topic before, and of no other gap', () => {
    const change = { ...facts, live: null, checkpoint: { ...checkpoint, gaps: [{ fromLsn: at(1), toLsn: at(2) }] } };
    const written = buildCheckpoint(change, planReader(change), { ...made, live: empty, generation: 4 });
    expect(written).toMatchObject({
      generation: 4,
      lastPublished: null,
      nextOffsets: [],
      gaps: [{ fromLsn: LSN_ZERO, toLsn: at(6_000) }],
    });
    expect(afterAdoption(written, empty).checkpoint.generation).toBe(4);
  });

  it('is rebuilt from the topic where there is none', () => {
    const users = Array.from({ length: 50 }, (_, index) => `user-${index}`);
    const tails = [0, 1].map((partition) => {
      const userId = users.find((user) => orderPartition(user, 2) === partition)!;
      return { partition, earliest: 0n, end: BigInt(7 + partition), newest: event(900 + partition, 0, { userId }) };
    });
    const change: ReaderFacts = { ...facts, checkpoint: null, lastOrderExists: null, live: tails };
    const written = buildCheckpoint(change, planReader(change), { ...made, live: tails });
    expect(written).toMatchObject({
      partitions: 2,
      nextOffsets: [7n, 8n],
      lastPublished: { commitLsn: at(901), ordinal: 0, orderId: tails[1]!.newest.orderId },
      gaps: [{ fromLsn: LSN_ZERO, toLsn: at(6_000) }],
    });
    expect(afterAdoption(written, tails).checkpoint.throughLsn).toBe(at(6_000));
  });

  it('uses no partition that was added to the topic and holds nothing of its own', () => {
    const users = Array.from({ length: 99 }, (_, index) => `user-${index}`);
    const tails = [0, 1, 2, 3, 4, 5].map((partition) => {
      // Users whom six partitions would have put elsewhere.
      const userId = users.find(
        (user) => orderPartition(user, 3) === partition && orderPartition(user, 6) !== partition,
      );
      return { partition, earliest: 0n, end: 1n, newest: userId === undefined ? null : event(1, 0, { userId }) };
    });
    expect(findPartitionsInUse(tails)).toBe(3);
    expect(findPartitionsInUse(empty)).toBe(2);
  });
});

describe('the range of what the sinks lack in a new generation', () => {
  const written = { ...checkpoint, throughLsn: at(6_000), gaps: [{ fromLsn: LSN_ZERO, toLsn: at(6_000) }] };
  const group = { positions: 2, timelines: [2, 2], lowestLsn: at(800) };
  it.each<[string, Partial<ReaderFacts>, (typeof group)[], number]>([
    ['begins with the partition furthest back', {}, [group], 800],
    ['begins with the group furthest back', {}, [group, { ...group, lowestLsn: at(700) }], 700],
    ['is everything where a partition was never applied', {}, [{ ...group, positions: 1 }], 0],
    ['is everything where one was applied on another line', {}, [{ ...group, timelines: [1, 2] }], 0],
    ['is everything where no sink had consumed the topic', {}, [], 0],
    ['is everything where the database is not the one', { lastOrderExists: false }, [group], 0],
    ['is everything where the checkpoint is lost', { checkpoint: null }, [group], 0],
    [
      'begins with an older gap',
      { checkpoint: { ...checkpoint, gaps: [{ fromLsn: at(300), toLsn: at(900) }] } },
      [group],
      300,
    ],
  ])('%s', (_, change, groups, from) => {
    expect(findUnapplied({ ...facts, ...change }, groups, written)).toEqual([{ fromLsn: at(from), toLsn: at(6_000) }]);
  });
});

describe('gaps', () => {
  const gap = (from: number, to: number) => ({ fromLsn: at(from), toLsn: at(to) });
  it.each([
    ['are kept apart', [gap(1, 2)], gap(4, 5), [gap(1, 2), gap(4, 5)]],
    ['are sorted', [gap(4, 5)], gap(1, 2), [gap(1, 2), gap(4, 5)]],
    ['become one where they touch', [gap(1, 2)], gap(2, 5), [gap(1, 5)]],
    ['become one where they overlap', [gap(1, 9), gap(20, 30)], gap(5, 25), [gap(1, 30)]],
    ['swallow those inside', [gap(1, 9)], gap(2, 3), [gap(1, 9)]],
    ['are none when empty', [], gap(3, 3), []],
  ])('%s', (_, gaps, added, expected) => {
    expect(addGap(gaps, added)).toEqual(expected);
  });

  it('are not closed from the WAL when the publication or the tables were others meanwhile', () => {
    expect(planReader(facts).isInWal).toBe(true);
    expect(planReader({ ...facts, capture: other }).isInWal).toBe(false);
  });
});

describe('where two servers of a cluster part', () => {
  const descent = (...ends: number[]) => ({
    timeline: ends.length + 1,
    history: ends.map((end, index) => ({ timeline: index + 1, endsAtLsn: at(end) })),
  });
  it.each([
    ['nowhere: they are the same', descent(5), descent(5), null],
    ['at the promotion of one', descent(5), descent(5, 9), 9],
    ['at the promotion of the other', descent(5, 9), descent(5), 9],
    ['at the earlier one of two promotions', descent(5, 9), descent(5, 8), 8],
    [
      'at the start of a timeline that only one of them has',
      descent(5),
      { timeline: 3, history: descent(5).history },
      5,
    ],
    ['at once when nothing is common', { timeline: 1, history: [] }, { timeline: 2, history: [] }, 0],
  ])('%s', (_, a, b, expected) => {
    expect(findDivergence(a, b)).toBe(expected === null ? null : at(expected));
  });
});

describe('what the operator reads', () => {
  const names = {
    slotName: 's',
    checkpointTopic: 'c',
    ordersTopic: 'o',
    transactionalId: 'tillstream.cdc-reader.s',
  } as const;
  it('shows the halt with both positions and every step', () => {
    const text = formatReaderPlan(names, facts, planReader(facts), 3).join('\n');
    expect(text).toContain('SLOT_DROPPED');
    expect(text).toContain('published through  0/4B0 (last order at 0/3E8:1)');
    expect(text).toContain("server's WAL end   0/1388, timeline 2");
    expect(text).toContain('create the slot s;');
    expect(text).not.toContain('generation');
  });

  it('shows a new generation with its reason, and the steps that follow', () => {
    const change = { ...facts, live: null, slotExists: true };
    const text = formatReaderPlan(names, change, planReader(change), 4).join('\n');
    expect(text).toContain('begin generation 4 of o (the live topic does not exist)');
    expect(text).toContain('drop the slot s and create it again');
    const done = formatReaderDone(checkpoint, ['sinks'], ['npm run replay -- --source tables']).join('\n');
    expect(done).toContain('Offsets reset for: sinks.');
    expect(done).toContain('2. restart the sinks');
    expect(done).toContain('3. close the gap: npm run replay -- --source tables');
  });
});
