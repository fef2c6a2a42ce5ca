// The decisions of a replay's plan, as tables of cases: up to where everything is applied, where a range begins in a
// partition, what Kafka covers, which source is taken.
import { describe, expect, it } from 'vitest';
import { type Lsn, toLsn } from '#schemas/lsn.ts';
import { NotCoveredError } from '../../../../../tools/replay/cli/errors.ts';
import { chooseSource } from '../../../../../tools/replay/plan/choose-source.ts';
import {
  findOffset,
  formatKafkaCursor,
  kafkaCoverage,
  parseKafkaCursor,
} from '../../../../../tools/replay/sources/kafka-source.ts';
import { appliedThrough } from '../../../../../tools/replay/sources/pipeline-state.ts';
import type { Coverage } from '../../../../../tools/replay/sources/source.ts';
import { tablesCoverage } from '../../../../../tools/replay/sources/tables-source.ts';

const at = (position: number): Lsn => toLsn(BigInt(position));
const range = (from: number, to: number) => ({ fromLsn: at(from), toLsn: at(to) });

describe('what every sink has applied', () => {
  const checkpoint = { throughLsn: at(100), generation: 2 };
  const event = (partition: number, commitLsn: number, generation = 2) => ({
    partition,
    generation,
    commitLsn: at(commitLsn),
  });

  it.each([
    ['everything published when nothing is unapplied', [], 100],
    ['what lies before the first unapplied event', [event(0, 70)], 70],
    ['what the partition that lags most has', [event(0, 70), event(1, 40), event(2, 90)], 40],
    ['no more than the checkpoint, for events younger than it', [event(0, 130)], 100],
    ['nothing while events of an older generation wait', [event(0, 300, 1)], 0],
  ])('is %s', (_, unapplied, through) => {
    expect(appliedThrough(checkpoint, unapplied)).toBe(at(through));
  });
});

describe('the search for a position in a partition', () => {
  /** Offsets with gaps, as transaction markers and aborted records leave them. */
  const events = [
    { offset: 12n, generation: 1, commitLsn: at(900) },
    { offset: 13n, generation: 1, commitLsn: at(950) },
    { offset: 17n, generation: 2, commitLsn: at(10) },
    { offset: 18n, generation: 2, commitLsn: at(10) },
    { offset: 30n, generation: 2, commitLsn: at(20) },
    { offset: 31n, generation: 2, commitLsn: at(40) },
  ];
  const search = (commitLsn: number, bounds = { earliest: 10n, end: 40n }) => {
    const probe = async (from: bigint, until: bigint) => {
      const event = events.find(({ offset }) => offset >= from && offset < until);
      return event === undefined ? null : { offset: event.offset, event };
    };
    return findOffset(probe, bounds, { generation: 2, commitLsn: at(commitLsn) });
  };
  const firstFrom = (offset: bigint) => events.find((event) => event.offset >= offset)?.offset;

  it.each([
    [0, 17n],
    [10, 17n],
    [11, 30n],
    [20, 30n],
    [21, 31n],
    [40, 31n],
    [41, undefined],
    [1_000, undefined],
  ])('of commits from %d on finds the first of them', async (commitLsn, offset) => {
    const found = await search(commitLsn);
    expect(firstFrom(found)).toBe(offset);
    for (const event of events) {
      const isBefore = event.generation < 2 || event.commitLsn < at(commitLsn);
      expect(event.offset < found).toBe(isBefore);
    }
  });

  it('finds nothing in an empty partition, and the end where everything is older', async () => {
    expect(await search(0, { earliest: 50n, end: 50n })).toBe(50n);
    expect(await search(0, { earliest: 32n, end: 40n })).toBe(32n);
    expect(await search(0, { earliest: 10n, end: 14n })).toBe(14n);
  });
});

describe('the coverage of Kafka', () => {
  const covers = (gaps: { fromLsn: Lsn; toLsn: Lsn }[], oldest: number | null = 100) =>
    kafkaCoverage('orders.placed', { oldestLsn: oldest === null ? null : at(oldest), gaps, newestLsn: at(900) });

  it.each([
    ['from its oldest position on', [], range(100, 900), true],
    ['not what is older', [], range(99, 900), false],
    ['not what is not applied yet', [], range(100, 901), false],
    ['not a gap', [range(300, 400)], range(300, 301), false],
    ['not a range over a gap', [range(300, 400)], range(200, 500), false],
    ['what ends where a gap begins', [range(300, 400)], range(200, 300), true],
    ['what begins where a gap ends', [range(300, 400)], range(400, 900), true],
  ])('is %s', (_, gaps, wanted, isCovered) => {
    expect(covers(gaps).covers(wanted)).toBe(isCovered);
  });

  it('begins behind the last gap, and is nothing where a partition may have lost records', () => {
    expect(covers([range(300, 400), range(10, 20)]).oldestLsn).toBe(at(400));
    expect(covers([range(300, 400)]).why).toContain('[0/12C, 0/190)');
    expect(covers([], null)).toMatchObject({ oldestLsn: null });
    expect(covers([], null).covers(range(500, 600))).toBe(false);
  });
});

describe('the source of a replay', () => {
  const covering = (kind: 'kafka' | 'wal', oldest: number | null): Coverage => ({
    kind,
    oldestLsn: oldest === null ? null : at(oldest),
    newestLsn: at(900),
    why: `because of ${kind}`,
    covers: ({ fromLsn }) => oldest !== null && fromLsn >= at(oldest),
  });
  const tables = tablesCoverage(at(900));

  it.each([
    ['kafka where it covers the range', 'auto', 100, 100, 'kafka'],
    ['wal where kafka does not', 'auto', 600, 100, 'wal'],
    ['wal where it was asked for', 'wal', 100, 100, 'wal'],
  ] as const)('is %s', (_, wanted, kafka, wal, kind) => {
    const coverages = [covering('kafka', kafka), covering('wal', wal), tables];
    expect(chooseSource(wanted, range(500, 900), coverages).kind).toBe(kind);
  });

  it('is refused where none covers, with what each has, the oldest that can be had, and both commands', () => {
    const coverages = [covering('kafka', 700), covering('wal', 600), tables];
    const refuse = () => chooseSource('auto', range(500, 900), coverages);
    expect(refuse).toThrow(NotCoveredError);
    expect(refuse).toThrow(/\[0\/1F4, 0\/384\)/);
    expect(refuse).toThrow('kafka: 0/2BC to 0/384 (because of kafka)');
    expect(refuse).toThrow('npm run replay -- --from-lsn 0/258 --source wal');
    expect(refuse).toThrow('npm run replay -- --source tables');
  });

  it('is never one that was not asked for, and never tables for a range', () => {
    const coverages = [covering('kafka', 100), covering('wal', null), tables];
    expect(() => chooseSource('wal', range(500, 900), coverages)).toThrow(/requested: wal[\s\S]*--source kafka/);
    expect(() => chooseSource('auto', range(50, 900), coverages)).toThrow(NotCoveredError);
    expect(() => chooseSource('auto', range(50, 900), [covering('wal', null), tables])).toThrow(
      'No position is available',
    );
  });
});

describe('the place where a replay from Kafka goes on', () => {
  it('is read as it was written', () => {
    const cursor = formatKafkaCursor(
      new Map([
        [0, 12n],
        [11, 2n ** 60n],
      ]),
    );
    expect(parseKafkaCursor(JSON.parse(JSON.stringify(cursor)))).toEqual(
      new Map([
        [0, 12n],
        [11, 2n ** 60n],
      ]),
    );
    expect(parseKafkaCursor(null)).toEqual(new Map());
  });

  it.each([[{ commitLsn: '0/1', ordinal: 0 }], [['1']], ['7'], [{ 0: 7 }]])(
    'is refused when another source wrote %j',
    (cursor) => {
      expect(() => parseKafkaCursor(cursor)).toThrow('from Kafka');
    },
  );
});
