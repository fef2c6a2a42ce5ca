// The decisions that keep a reader from publishing over a gap: every case in which continuity can't be proven, as a table.
import { describe, expect, it } from 'vitest';
import { type CaptureFingerprint, formatVersion1 } from '#schemas/capture-fingerprint.ts';
import { addOrderId, type Checkpoint, hashOrderIds } from '#schemas/checkpoint.ts';
import { formatLsn, type Lsn, toLsn } from '#schemas/lsn.ts';
import { type ContinuityFacts, checkContinuity, DropVerifier } from '../../../../cdc-reader/startup/continuity.ts';
import { exampleCapture, exampleOids, exampleTable } from '../../../support/examples/capture.ts';
import { advancedCheckpoint } from '../../../support/examples/checkpoint.ts';

const at = (value: number): Lsn => toLsn(BigInt(value));
const hashOf = (...ids: string[]): string => {
  const hash = hashOrderIds();
  for (const id of ids) addOrderId(hash, id);
  return hash.digest('hex');
};

const checkpoint = advancedCheckpoint({
  lastPublished: { commitLsn: at(1_000), ordinal: 1, orderId: 'b', ordersHash: hashOf('a', 'b') },
});

const facts: ContinuityFacts = {
  isNewest: true,
  source: {
    systemIdentifier: checkpoint.systemIdentifier,
    database: 'shop',
    timeline: 2,
    history: checkpoint.history,
    flushLsn: at(5_000),
  },
  slot: {
    name: 'tillstream',
    plugin: 'pgoutput',
    database: 'shop',
    confirmedFlushLsn: at(1_200),
    walStatus: 'reserved',
    invalidationReason: null,
  },
  capture: { publicationName: 'tillstream', found: exampleCapture(), names: new Map() },
  lastOrderExists: true,
  live: [
    { partition: 0, earliest: 0n, end: 10n, newest: { timeline: 2, commitLsn: at(900), ordinal: 0 } },
    { partition: 1, earliest: 0n, end: 22n, newest: { timeline: 2, commitLsn: at(1_000), ordinal: 1 } },
  ],
  liveTopicId: null,
};

describe('continuity', () => {
  const source = (change: Partial<ContinuityFacts['source']>) => ({ ...facts, source: { ...facts.source, ...change } });
  const slot = (change: Partial<ContinuityFacts['slot']>) => ({ ...facts, slot: { ...facts.slot, ...change } });
  const captured = (change: Partial<CaptureFingerprint>) => ({
    ...facts,
    capture: { ...facts.capture, found: exampleCapture(change) },
  });
  const [first, second] = facts.live!;
  const unchanged = { checkpoint, warnings: [], isTopicLearnt: false };

  it('is proven when nothing has changed', () => {
    expect(checkContinuity(checkpoint, facts)).toEqual(unchanged);
  });

  it('is not proven by a live topic with another id, whatever it holds', () => {
    const known = { ...checkpoint, liveTopicId: 'one' };
    expect(checkContinuity(known, { ...facts, liveTopicId: 'one' }).checkpoint.liveTopicId).toBe('one');
    expect(checkContinuity(known, facts).checkpoint.liveTopicId).toBe('one'); // not read: what was known stays
    const check = () => checkContinuity(known, { ...facts, liveTopicId: 'two' });
    expect(check).toThrow(expect.objectContaining({ code: 'LIVE_TOPIC_CHANGED' }));
    expect(check).toThrow(/another id.*npm run adopt -- reader/);
  });

  it('is not proven where one partition has lost the end of the last transaction, although another has the newest event', () => {
    const known = { ...checkpoint, endOffsets: [12n, 22n] };
    const tails = (end: bigint) => [{ ...first!, end }, second!];
    expect(checkContinuity(known, { ...facts, live: tails(12n) }).checkpoint.endOffsets).toEqual([12n, 22n]);
    expect(() => checkContinuity(known, { ...facts, live: tails(11n) })).toThrow(
      expect.objectContaining({ code: 'LIVE_TOPIC_CHANGED', details: { partition: '0', end: '11', recorded: '12' } }),
    );
  });

  it('learns the id of a topic that was published to before ids were recorded, once', () => {
    const learnt = checkContinuity(checkpoint, { ...facts, liveTopicId: 'one' });
    expect(learnt).toMatchObject({ isTopicLearnt: true, checkpoint: { liveTopicId: 'one' } });
    expect(checkContinuity(learnt.checkpoint, { ...facts, liveTopicId: 'one' }).isTopicLearnt).toBe(false);
  });

  it.each<[string, ContinuityFacts, string]>([
    ['another cluster', source({ systemIdentifier: '1' }), 'SOURCE_CHANGED'],
    ['another database of the cluster', source({ database: 'other' }), 'SOURCE_CHANGED'],
    ['a server whose WAL ends below throughLsn', source({ flushLsn: at(1_199) }), 'SERVER_BEHIND'],
    [
      'a timeline that never knew ours',
      source({ timeline: 3, history: [{ timeline: 1, endsAtLsn: at(9) }] }),
      'TIMELINE_FORKED',
    ],
    [
      'a timeline that left ours before the last published commit',
      source({ timeline: 3, history: [{ timeline: 2, endsAtLsn: at(999) }] }),
      'TIMELINE_FORKED',
    ],
    [
      'a timeline that left ours right at the last published commit record',
      source({ timeline: 3, history: [{ timeline: 2, endsAtLsn: at(1_000) }] }),
      'TIMELINE_FORKED',
    ],
    ['a slot of another plugin', slot({ plugin: 'test_decoding' }), 'SLOT_FOREIGN'],
    ['an invalidated slot', slot({ walStatus: 'lost' }), 'SLOT_LOST'],
    ['a slot without a position', slot({ confirmedFlushLsn: null }), 'SLOT_LOST'],
    ['a slot advanced past what was published', slot({ confirmedFlushLsn: at(1_201) }), 'SLOT_AHEAD'],
    [
      'a changed publication',
      captured({ publication: { ...exampleCapture().publication!, xmin: '999' } }),
      'PUBLICATION_CHANGED',
    ],
    ['a dropped publication', captured({ publication: null }), 'PUBLICATION_CHANGED'],
    ['a table that is gone', captured({ tables: { ...exampleCapture().tables, orders: null } }), 'TABLES_CHANGED'],
    [
      'a table and a publication that changed both',
      captured({
        publication: null,
        tables: { ...exampleCapture().tables, orders: exampleTable('orders', { oid: 7 }) },
      }),
      'TABLES_CHANGED',
    ],
    ['a database without the last published order', { ...facts, lastOrderExists: false }, 'CONTENTS_DIFFER'],
    ['a live topic with fewer partitions', { ...facts, live: [second!] }, 'LIVE_TOPIC_CHANGED'],
    [
      'a partition below its recorded offset',
      { ...facts, live: [{ ...first!, end: 9n }, second!] },
      'LIVE_TOPIC_CHANGED',
    ],
    [
      'an event that we did not publish',
      { ...facts, live: [first!, { ...second!, newest: { timeline: 2, commitLsn: at(1_100), ordinal: 0 } }] },
      'LIVE_TOPIC_CHANGED',
    ],
    [
      'a topic without the last published event',
      { ...facts, live: [first!, { ...second!, newest: { timeline: 2, commitLsn: at(950), ordinal: 0 } }] },
      'LIVE_TOPIC_CHANGED',
    ],
    [
      'an empty topic of the same length',
      {
        ...facts,
        live: [
          { ...first!, newest: null },
          { ...second!, newest: null },
        ],
      },
      'LIVE_TOPIC_CHANGED',
    ],
  ])('halts for %s', (_, changed, code) => {
    expect(() => checkContinuity(checkpoint, changed)).toThrow(expect.objectContaining({ code }));
  });

  it.each([
    ['SLOT_LOST', slot({ walStatus: 'lost' })],
    ['PUBLICATION_CHANGED', captured({ publication: null })],
    ['TABLES_CHANGED', captured({ schema: null })],
  ])('says in the message of %s what is published and where the server is', (_, changed) => {
    const message = new RegExp(`${formatLsn(checkpoint.throughLsn)}\\b.*${formatLsn(facts.source.flushLsn)}\\b`);
    expect(() => checkContinuity(checkpoint, changed)).toThrow(message);
  });

  it('goes on from a record of version 1 if its publication publishes the two tables of today, and records who they are', () => {
    const version1 = formatVersion1(exampleCapture().publication!);
    const old = { ...checkpoint, capture: { version1 } };
    expect(checkContinuity(old, facts)).toEqual(unchanged);
    const swapped = captured({ tables: { ...exampleCapture().tables, orders: exampleTable('orders', { oid: 7 }) } });
    expect(() => checkContinuity(old, swapped)).toThrow(expect.objectContaining({ code: 'TABLES_CHANGED' }));
    const altered = captured({ publication: { ...exampleCapture().publication!, xmin: '999' } });
    expect(() => checkContinuity(old, altered)).toThrow(expect.objectContaining({ code: 'PUBLICATION_CHANGED' }));
  });

  it('goes on under another owner of the tables, warns of it, and records the new one', () => {
    const rowType = { ...exampleTable('orders').rowType, owner: 11, xmin: '999' };
    const owned = captured({ tables: { ...exampleCapture().tables, orders: exampleTable('orders', { rowType }) } });
    const { checkpoint: verified, warnings } = checkContinuity(checkpoint, owned);
    expect(verified.capture).toEqual(owned.capture.found);
    expect(warnings).toEqual([expect.stringContaining('row type of public.orders')]);
  });

  it('says in the halt for changed tables what the captured ones are called now', () => {
    const swapped = captured({ tables: { ...exampleCapture().tables, orders: exampleTable('orders', { oid: 7 }) } });
    const names = new Map([[exampleOids.orders as number, { schema: 'public', name: 'orders_old', kind: 'r' }]]);
    const found = { ...swapped, capture: { ...swapped.capture, names } };
    expect(() => checkContinuity(checkpoint, found)).toThrow('(oid 16384) is now public.orders_old');
  });

  it('goes on after a promotion, and cuts an idle throughLsn back to the branch', () => {
    const history = [...checkpoint.history, { timeline: 2, endsAtLsn: at(1_100) }];
    const promoted = { ...source({ timeline: 3, history }), slot: { ...facts.slot, confirmedFlushLsn: at(1_050) } };
    expect(checkContinuity(checkpoint, promoted)).toEqual({
      checkpoint: { ...checkpoint, timeline: 3, history, throughLsn: at(1_100) },
      warnings: [],
      isTopicLearnt: false,
    });
  });

  it('accepts that retention has taken the newest event, where the offsets prove that it was there', () => {
    const expired = { ...second!, earliest: 22n, newest: null };
    expect(checkContinuity(checkpoint, { ...facts, live: [first!, expired] })).toEqual(unchanged);
  });

  it('judges whether the slot is ahead only by the newest checkpoint: Postgres may know of one that is not seen yet', () => {
    const ahead = { ...facts.slot, confirmedFlushLsn: at(1_300) };
    expect(checkContinuity(checkpoint, { ...facts, slot: ahead, isNewest: false })).toEqual(unchanged);
  });

  it('judges the end of the live topic only after fencing', () => {
    expect(checkContinuity(checkpoint, { ...facts, live: null })).toEqual(unchanged);
  });
});

describe('transactions that are dropped', () => {
  const dropAll = (dropped: readonly [number, readonly string[]][], of: Checkpoint = checkpoint) => {
    const verifier = new DropVerifier(of);
    for (const [commitLsn, ids] of dropped) verifier.dropped(at(commitLsn), () => ids);
    verifier.passed();
  };

  it.each<[string, readonly [number, readonly string[]][]]>([
    ['none hold orders', []],
    [
      'the last is the last published one',
      [
        [900, ['z']],
        [1_000, ['a', 'b']],
      ],
    ],
  ])('are accepted when %s', (_, dropped) => {
    expect(() => dropAll(dropped)).not.toThrow();
  });

  it.each<[string, readonly [number, readonly string[]][]]>([
    ['holds other orders at the same position', [[1_000, ['a', 'c']]]],
    ['holds its orders in another order', [[1_000, ['b', 'a']]]],
    ['lies behind the last published one', [[1_100, ['x']]]],
    ['is missing', [[900, ['z']]]],
  ])('halt when the last one %s', (_, dropped) => {
    expect(() => dropAll(dropped)).toThrow(expect.objectContaining({ code: 'CONTENTS_DIFFER' }));
  });

  it('halt when nothing was ever published', () => {
    expect(() => dropAll([[100, ['a']]], { ...checkpoint, lastPublished: null })).toThrow(
      expect.objectContaining({ code: 'CONTENTS_DIFFER' }),
    );
  });

  it('are judged once: what comes after throughLsn is not theirs', () => {
    const verifier = new DropVerifier(checkpoint);
    verifier.dropped(at(1_000), () => ['a', 'b']);
    verifier.passed();
    expect(() => verifier.passed()).not.toThrow();
  });
});
