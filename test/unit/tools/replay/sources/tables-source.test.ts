// The pure parts of a replay's sources: times and what they resolve to (against a search of everything, over random
// logs), cursors, and what a slot covers.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LSN_ZERO, type Lsn, parseLsn, toLsn } from '#schemas/lsn.ts';
import type { JsonValue } from '#schemas/replay/plan.ts';
import type { CommittedTransaction } from '../../../../../cdc-reader/pipeline/assemble-transaction.ts';
import type { SlotState } from '../../../../../cdc-reader/postgres/source-session.ts';
import { formatTime, parseTime } from '../../../../../tools/replay/cli/parse-time.ts';
import {
  type LiveTopic,
  type ResolvedTime,
  resolveInLog,
  resolveInWal,
} from '../../../../../tools/replay/sources/resolve-time.ts';
import { formatTablesCursor, parseTablesCursor } from '../../../../../tools/replay/sources/tables-source.ts';
import { formatWalCursor, parseWalCursor, walCoverage } from '../../../../../tools/replay/sources/wal-source.ts';
import type { WalBatch } from '../../../../../tools/replay/sources/wal-transactions.ts';
import { encodeOrderPlaced } from '../../../../support/examples/encode-order-placed.ts';
import { createEvent } from '../../../../support/examples/sink-events.ts';

describe('a time on the command line', () => {
  const micros = (iso: string) => BigInt(Date.parse(iso)) * 1000n;

  it.each([
    ['2026-11-20T10:00Z', micros('2026-11-20T10:00:00Z')],
    ['2026-11-20T10:00:30Z', micros('2026-11-20T10:00:30Z')],
    ['2026-11-20t10:00:30.123456z', micros('2026-11-20T10:00:30Z') + 123_456n],
    ['2026-11-20T10:00:30,5+01:00', micros('2026-11-20T09:00:30Z') + 500_000n],
    ['2026-11-20T10:00-0330', micros('2026-11-20T13:30:00Z')],
    ['2026-11-20T10:00+14', micros('2026-11-19T20:00:00Z')],
    ['2024-02-29T00:00Z', micros('2024-02-29T00:00:00Z')],
  ])('reads %s', (text, expected) => {
    expect(parseTime(text)).toBe(expected);
  });

  it.each([
    ['2026-11-20T10:00', /no zone/],
    ['2026-11-20', /hours and minutes are needed/],
    ['2026-02-30T10:00Z', /no such time/],
    ['2026-11-20T24:00Z', /no such time/],
    ['2026-11-20T10:60Z', /no such time/],
    ['2026-11-20T10:00+25:00', /no such offset/],
    ['2026-11-20T10:00:00.1234567Z', /date, T/],
    ['2026-11-20 10:00Z', /date, T/],
    ['yesterday', /date, T/],
    ['', /date, T/],
  ])('refuses %s and says why, with an example', (text, why) => {
    expect(() => parseTime(text)).toThrow(why);
    expect(() => parseTime(text)).toThrow(/2026-11-20T10:00Z/);
  });

  it('is read again as it was printed', () => {
    const instants = fc.bigInt({ min: -30_000_000_000_000_000n, max: 250_000_000_000_000_000n });
    fc.assert(
      fc.property(instants, (instant) => {
        expect(parseTime(formatTime(instant))).toBe(instant);
      }),
    );
  });
});

const SECOND = 1_000_000n;
const TOLERANCE = 10n * SECOND;

interface Commit {
  readonly commitLsn: Lsn;
  readonly committedAt: bigint;
  readonly partition: number;
}

/** Commits in WAL order whose times go up, each off by less than half the tolerance. */
const upTo = (max: number) => fc.noBias(fc.nat({ max }));
const commits = fc
  .noBias(
    fc.array(fc.record({ gap: upTo(8_000_000), skew: upTo(4_900_000), partition: upTo(2) }), {
      minLength: 1,
      maxLength: 60,
      size: 'max',
    }),
  )
  .map((steps) => {
    let [lsn, at] = [0x1000n, 1_000n * SECOND];
    return steps.map(({ gap, skew, partition }): Commit => {
      lsn += 0x80n;
      at += BigInt(gap);
      return { commitLsn: toLsn(lsn), committedAt: at + BigInt(skew), partition };
    });
  });
const instant = upTo(250_000_000).map((micros) => 990n * SECOND + BigInt(micros));

/** A live topic of three partitions, with control records (holes in the offsets) here and there, deleted up to a point. */
function liveTopic(
  held: readonly Commit[],
  options: { deleted?: readonly number[]; gaps?: LiveTopic['gaps']; generation?: number } = {},
) {
  const reads: bigint[] = [];
  const partitions = [0, 1, 2].map((partition) => {
    const records = held
      .filter((commit) => commit.partition === partition)
      .map((commit, index) => ({
        offset: BigInt(index + Math.floor(index / 3)),
        key: null,
        value: encodeOrderPlaced(createEvent(commit)),
        headers: {},
      }));
    const kept = records.slice(options.deleted?.[partition] ?? 0);
    const end = (records.at(-1)?.offset ?? -1n) + 2n;
    const earliest = kept.length === records.length ? 0n : (kept[0]?.offset ?? end);
    return { kept, earliest, end };
  });
  const live: LiveTopic = {
    topic: 'orders.placed',
    generation: options.generation ?? 1,
    gaps: options.gaps ?? [],
    log: {
      close: async () => undefined,
      readTopicId: async () => null,
      readOffsets: async () =>
        new Map(
          partitions.map(({ earliest, end }, partition) => [
            partition,
            { earliest, lastStable: end, highWatermark: end },
          ]),
        ),
      async *readRecords({ partition, fromOffset, untilOffset }) {
        reads.push(fromOffset);
        for (const record of partitions[partition]!.kept) {
          if (record.offset >= fromOffset && record.offset < untilOffset) yield [record];
        }
      },
    },
  };
  return { live, reads };
}

const firstFrom = (all: readonly Commit[], at: bigint): ResolvedTime => {
  const first = all.find(({ committedAt }) => committedAt >= at);
  return first === undefined
    ? { kind: 'none' }
    : { kind: 'found', commitLsn: first.commitLsn, committedAt: first.committedAt };
};

describe('a time in the live topic', () => {
  it('is the least position committed at or after it, in whatever partition', async () => {
    await fc.assert(
      fc.asyncProperty(commits, instant, async (all, at) => {
        const { live } = liveTopic(all);
        expect(await resolveInLog({ at, toleranceMicros: TOLERANCE }, live)).toEqual(firstFrom(all, at));
      }),
      { numRuns: 300 },
    );
  });

  it('is never later than the right one where records were deleted: then it may be not held', async () => {
    let [found, notHeld] = [0, 0];
    const deleted = fc.tuple(upTo(8), upTo(8), upTo(8));
    await fc.assert(
      fc.asyncProperty(commits, instant, deleted, async (all, at, counts) => {
        const { live } = liveTopic(all, { deleted: counts });
        const resolved = await resolveInLog({ at, toleranceMicros: TOLERANCE }, live);
        if (resolved.kind === 'not-held') notHeld += 1;
        else expect(resolved).toEqual(firstFrom(all, at));
        if (resolved.kind === 'found') found += 1;
      }),
      { numRuns: 300 },
    );
    expect(Math.min(found, notHeld)).toBeGreaterThan(10);
  });

  it('is not held where a gap may hold the answer, and found where it can not', async () => {
    const at = (second: number) => 1_000n * SECOND + BigInt(second) * SECOND;
    const all = [0, 20, 40, 60, 80].map((second, index) => ({
      commitLsn: toLsn(BigInt(0x1000 * (index + 1))),
      committedAt: at(second),
      partition: index % 3,
    }));
    const gaps = [{ fromLsn: parseLsn('0/2800'), toLsn: parseLsn('0/3000') }];
    const { live } = liveTopic(all, { gaps });
    const resolve = (second: number) => resolveInLog({ at: at(second) }, live);
    expect(await resolve(15)).toMatchObject({ kind: 'found', commitLsn: 0x2000n });
    expect(await resolve(30)).toEqual({ kind: 'not-held' });
    expect(await resolve(55)).toMatchObject({ kind: 'found', commitLsn: 0x4000n });
    expect(await resolve(90)).toEqual({ kind: 'none' });
  });

  it('passes over events of older generations', async () => {
    const { live } = liveTopic([{ commitLsn: toLsn(0x1000n), committedAt: 5_000n * SECOND, partition: 0 }], {
      generation: 2,
    });
    expect(await resolveInLog({ at: SECOND }, live)).toEqual({ kind: 'none' });
  });

  it('takes few reads, however long the log is', async () => {
    const all = Array.from({ length: 3_000 }, (_, index) => ({
      commitLsn: toLsn(BigInt(0x1000 + index * 0x80)),
      committedAt: BigInt(index) * SECOND,
      partition: index % 3,
    }));
    const { live, reads } = liveTopic(all);
    expect(await resolveInLog({ at: 2_000n * SECOND }, live)).toEqual(firstFrom(all, 2_000n * SECOND));
    expect(reads.length).toBeLessThan(3 * 15);
  });
});

describe('a time in the window of WAL', () => {
  async function* batches(all: readonly Commit[]): AsyncGenerator<WalBatch> {
    for (const { commitLsn, committedAt } of all) {
      yield { transactions: [{ commitLsn, committedAt } as CommittedTransaction], identity: undefined as never };
    }
  }

  it('is never later than the right one, whatever came before the window', async () => {
    let found = 0;
    await fc.assert(
      fc.asyncProperty(commits, instant, upTo(20), async (all, at, before) => {
        const resolved = await resolveInWal({ at, toleranceMicros: TOLERANCE }, batches(all.slice(before)));
        if (resolved.kind === 'not-held') return;
        expect(resolved).toEqual(firstFrom(all, at));
        if (resolved.kind === 'found') found += 1;
      }),
      { numRuns: 300 },
    );
    expect(found).toBeGreaterThan(10);
  });

  it('is not held by an empty window', async () => {
    expect(await resolveInWal({ at: SECOND }, batches([]))).toEqual({ kind: 'not-held' });
  });
});

describe('a cursor', () => {
  const throughJson = (cursor: JsonValue) => JSON.parse(JSON.stringify(cursor)) as JsonValue;

  it('of the WAL survives JSON, with all digits', () => {
    const cursor = { commitLsn: toLsn(0xfedcba9876543210n), ordinal: 4_711 };
    expect(parseWalCursor(throughJson(formatWalCursor(cursor)))).toEqual(cursor);
  });

  it('of the tables survives JSON, and counts for one state of the slot only', () => {
    const cursor = { placedAt: 1_700_000_000_123_456n, orderId: 'a-b', ordinal: 12 };
    const json = throughJson(formatTablesCursor(cursor, '1.0'));
    expect(parseTablesCursor(json, '1.0')).toEqual(cursor);
    expect(parseTablesCursor(json, '1.1')).toBeUndefined();
    expect(parseTablesCursor(null, '1.0')).toBeUndefined();
  });

  it('of another source is refused', () => {
    expect(() => parseWalCursor(formatTablesCursor({ placedAt: 1n, orderId: 'x', ordinal: 0 }, '1.0'))).toThrow();
    expect(() => parseTablesCursor(formatWalCursor({ commitLsn: LSN_ZERO, ordinal: 0 }), '1.0')).toThrow();
  });
});

describe('what the window slot covers', () => {
  const newestLsn = parseLsn('0/2000');
  const slot = (change: Partial<SlotState> = {}): SlotState => ({
    plugin: 'pgoutput',
    database: 'orders',
    active: false,
    activePid: null,
    confirmedFlushLsn: parseLsn('0/1000'),
    restartLsn: parseLsn('0/800'),
    walStatus: 'reserved',
    invalidationReason: null,
    temporary: false,
    failover: false,
    synced: false,
    sentLsn: null,
    retainedBytes: 10n,
    ...change,
  });

  it('is from its confirmed position up to what is applied', () => {
    const coverage = walCoverage('s_window', slot(), newestLsn);
    expect(coverage).toMatchObject({ kind: 'wal', oldestLsn: 0x1000n, newestLsn: 0x2000n });
    const covers = (from: bigint, to: bigint) => coverage.covers({ fromLsn: toLsn(from), toLsn: toLsn(to) });
    expect([covers(0x1000n, 0x2000n), covers(0xfffn, 0x2000n), covers(0x1000n, 0x2001n)]).toEqual([true, false, false]);
  });

  it.each([
    ['there is none', null, /switched off/],
    ['it lost its WAL', slot({ walStatus: 'lost' }), /invalidated \(wal_removed\)/],
    ['it was invalidated', slot({ invalidationReason: 'idle_timeout' }), /idle_timeout/],
    ['it has no position yet', slot({ confirmedFlushLsn: null }), /nothing yet/],
  ])('is nothing when %s, and says so', (_, state, why) => {
    const coverage = walCoverage('s_window', state, newestLsn);
    expect(coverage.oldestLsn).toBeNull();
    expect(coverage.why).toMatch(why);
    expect(coverage.covers({ fromLsn: newestLsn, toLsn: newestLsn })).toBe(false);
  });
});
