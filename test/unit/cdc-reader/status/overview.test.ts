// What readings of the services mean together: the verdict, worst first, and the figures of the first screen.
import { describe, expect, it } from 'vitest';
import { describeRounds } from '../../../../cdc-reader/status/overview.ts';
import { parsePrometheusText } from '../../../../cdc-reader/status/prometheus-text.ts';
import type { PipelineBody, ServiceKind, ServiceReading } from '../../../../cdc-reader/status/read-service.ts';
import type { Round } from '../../../../cdc-reader/status/rounds.ts';
import { exitCodeOf, formatOverview } from '../../../../tools/status/format.ts';

const START_MS = Date.UTC(2026, 10, 28, 12);

interface Figures {
  readonly atMs?: number;
  readonly published?: number;
  readonly applied?: number;
  readonly lagRecords?: number;
  readonly lagSeconds?: number;
  readonly written?: number;
  readonly through?: number;
  readonly streaming?: 0 | 1;
  readonly buckets?: readonly [fast: number, all: number];
}

function readerText({ published = 0, written = 1_000, through = 1_000, streaming = 1 }: Figures): string {
  return `
tillstream_reader_streaming ${streaming}
tillstream_reader_orders_read_total ${published}
tillstream_reader_orders_published_total ${published}
tillstream_reader_position_lsn{stage="written"} ${written}
tillstream_reader_position_lsn{stage="sent"} ${written}
tillstream_reader_position_lsn{stage="received"} ${through}
tillstream_reader_position_lsn{stage="acknowledged"} ${through}
tillstream_reader_through_lsn ${through}
tillstream_reader_slot_wal_status{slot="live",wal_status="reserved"} 1
tillstream_reader_slot_retained_bytes{slot="live"} 500
tillstream_reader_slot_safe_wal_bytes{slot="live"} 100000
tillstream_reader_replay_oldest_lsn{source="wal"} 16`;
}

function sinkText({ applied = 0, lagRecords = 0, lagSeconds = 0, buckets = [0, 0] }: Figures): string {
  return `
tillstream_sink_orders_applied_total{topic="orders.placed"} ${applied}
tillstream_sink_lag_records{topic="orders.placed",partition="0"} ${lagRecords}
tillstream_sink_lag_seconds{topic="orders.placed",partition="0"} ${lagSeconds}
tillstream_sink_assigned_partitions 12
tillstream_sink_commit_to_commit_seconds_bucket{le="0.01"} ${buckets[0]}
tillstream_sink_commit_to_commit_seconds_bucket{le="0.1"} ${buckets[1]}
tillstream_sink_commit_to_commit_seconds_bucket{le="+Inf"} ${buckets[1]}`;
}

function reading(
  kind: ServiceKind,
  text: string,
  atMs: number,
  pipeline: PipelineBody = { state: 'working' },
): ServiceReading {
  const isWell = ['working', 'streaming', 'standby'].includes(pipeline.state ?? '');
  const answer = { isWell, pipeline, metrics: parsePrometheusText(text) };
  const others = { recent: undefined, carts: undefined, cartsProblem: undefined };
  return { kind, url: `http://${kind}`, atMs, answer, problem: undefined, ...others };
}

const away = (kind: ServiceKind, atMs: number): ServiceReading => ({
  ...reading(kind, '', atMs),
  answer: undefined,
  problem: 'ECONNREFUSED',
});

/** A round with everything well, but for `changes`. */
function round(
  figures: Figures = {},
  changes: Partial<Record<ServiceKind, ServiceReading | PipelineBody>> = {},
): Round {
  const { atMs = START_MS } = figures;
  const texts = { 'cdc-reader': readerText(figures), 'order-api': '', 'cart-sink': sinkText(figures) };
  return (Object.keys(texts) as ServiceKind[]).map((kind) => {
    const changed = changes[kind];
    if (changed !== undefined && 'kind' in changed) return changed as ServiceReading;
    return reading(kind, texts[kind], atMs, changed as PipelineBody | undefined);
  });
}

const seconds = (count: number) => START_MS + count * 1_000;
const verdictOf = (...rounds: Round[]) => describeRounds(rounds, new Map()).verdict;

describe('the verdict', () => {
  const orders = round({ published: 10, applied: 10 });

  it.each([
    ['Then run `npm run adopt -- sink`: it shows what Kafka holds.', 'npm run adopt -- sink'],
    [
      "Park it by `npm run adopt -- sink --park 'orders.placed[3]@12'`: its bytes are kept.",
      "npm run adopt -- sink --park 'orders.placed[3]@12'",
    ],
    [
      'Start them: `ORDERS_TOPIC=NEW SLOT_NAME=NEW npm run cdc-reader`.',
      'ORDERS_TOPIC=NEW SLOT_NAME=NEW npm run cdc-reader',
    ],
    ['The slot is lost: npm run adopt -- reader.', 'npm run adopt -- reader'],
    ['Run npm run migrate: it makes the tables.', 'npm run migrate'],
    ['Nobody knows.', null],
  ])('takes from "%s" the command, and nothing of the sentence around it', (message, command) => {
    const halted = { state: 'halted', code: 'SOME_CODE', message };
    expect(verdictOf(round({}, { 'cdc-reader': halted })).command).toBe(command);
  });

  it.each<[name: string, rounds: Round[], kind: string, title: RegExp, exitCode: number]>([
    ['orders come and go', [orders, round({ atMs: seconds(10), published: 60, applied: 60 })], 'in-step', /in step/, 0],
    ['nothing comes', [orders, round({ atMs: seconds(10), published: 10, applied: 10 })], 'idle', /idle/, 0],
    [
      'a backlog is applied',
      [orders, round({ atMs: seconds(10), published: 900, applied: 510, lagRecords: 390, lagSeconds: 30 })],
      'catching-up',
      /catching up \(about 8 s left\)/,
      0,
    ],
    [
      'a backlog stands',
      [0, 6, 12, 18].map((at) =>
        round({ atMs: seconds(at), published: 900, applied: 510, lagRecords: 390, lagSeconds: 30 }),
      ),
      'stalled',
      /stalled/,
      1,
    ],
    [
      'a service is away',
      [round({}, { 'cart-sink': away('cart-sink', START_MS) })],
      'cannot-tell',
      /cart-sink is away/,
      3,
    ],
    [
      'the reader waits',
      [round({}, { 'cdc-reader': { state: 'waiting', name: 'KAFKA_AWAY', message: 'Kafka is away' } })],
      'waiting',
      /cdc-reader waits: KAFKA_AWAY/,
      1,
    ],
    [
      'the reader is halted, and the sink away',
      [
        round(
          {},
          {
            'cdc-reader': { state: 'halted', code: 'SLOT_LOST', message: 'The slot is lost: npm run adopt -- reader.' },
            'cart-sink': away('cart-sink', START_MS),
          },
        ),
      ],
      'halted',
      /cdc-reader is halted: SLOT_LOST/,
      1,
    ],
  ])('when %s', (_name, rounds, kind, title, exitCode) => {
    const overview = describeRounds(rounds, new Map());
    expect(overview.verdict.kind).toBe(kind);
    expect(overview.verdict.title).toMatch(title);
    expect(exitCodeOf(overview)).toBe(exitCode);
    expect(formatOverview(overview).split('\n')[0]).toMatch(title);
  });

  it('names the command that its message names, and the other findings behind', () => {
    const halted = {
      state: 'halted',
      code: 'SLOT_LOST',
      message: 'It is lost. Run npm run adopt -- reader --force, then replay.',
    };
    const verdict = verdictOf(round({}, { 'cdc-reader': halted, 'order-api': away('order-api', START_MS) }));
    expect(verdict.command).toBe('npm run adopt -- reader --force');
    expect(verdict.others.map(({ title }) => title)).toEqual(['order-api is away']);
  });

  it('is a missing standby when another reader streams than the one that is away', () => {
    const other = { ...away('cdc-reader', START_MS), url: 'http://other' };
    const streaming = reading('cdc-reader', readerText({}), START_MS, { state: 'streaming' });
    const verdict = verdictOf([...round({}, { 'cdc-reader': streaming }), other]);
    expect(verdict).toMatchObject({ kind: 'to-decide', title: 'no standby: a cdc-reader is away' });
    const standby = reading('cdc-reader', readerText({ streaming: 0 }), START_MS, { state: 'standby' });
    expect(verdictOf([...round({}, { 'cdc-reader': standby }), other]).title).toBe('cdc-reader is away');
  });

  it('is not that of a halted reader while another one streams', () => {
    const halted = reading('cdc-reader', readerText({ streaming: 0 }), START_MS, {
      state: 'halted',
      code: 'SLOT_DROPPED',
    });
    const other = { ...reading('cdc-reader', readerText({}), START_MS, { state: 'streaming' }), url: 'http://other' };
    expect(verdictOf([...round({}, { 'cdc-reader': halted }), other])).toMatchObject({
      kind: 'to-decide',
      title: 'no standby: the cdc-reader at cdc-reader is halted: SLOT_DROPPED',
      command: null,
    });
  });

  it('is never idle while no reader streams', () => {
    const standby = reading('cdc-reader', readerText({ streaming: 0 }), START_MS, { state: 'standby' });
    expect(verdictOf(round({}, { 'cdc-reader': standby }))).toMatchObject({
      kind: 'stalled',
      title: 'no reader streams',
    });
  });

  it('says what to set where no sink is known', () => {
    const alone = round().filter(({ kind }) => kind === 'cdc-reader');
    expect(verdictOf(alone)).toMatchObject({ kind: 'cannot-tell', title: 'cannot tell: no sink is known' });
  });

  it('names what a service without states lacks', () => {
    const broken = { ...reading('order-api', '', START_MS, { database: 'unreachable' }) };
    expect(verdictOf(round({}, { 'order-api': broken })).title).toBe('order-api is not working: database unreachable');
  });

  it('does not call a halted partition one that is catching up', () => {
    const text = `${sinkText({ lagRecords: 9, lagSeconds: 90 })}
tillstream_halted_partitions{code="UNKNOWN_SCHEMA",topic="orders.placed",partition="0"} 1`;
    const stored = { topic: 'orders.placed', partition: 0, code: 'UNKNOWN_SCHEMA', message: 'm' };
    const sink = reading('cart-sink', text, START_MS, { state: 'halted', haltedPartitions: [stored] });
    const { verdict, ladder } = describeRounds([round({}, { 'cart-sink': sink })], new Map());
    expect([verdict.title, verdict.others]).toEqual(['orders.placed[0] is halted: UNKNOWN_SCHEMA', []]);
    expect(ladder.at(-1)!.gapRecords).toBeNull();
  });

  it('says since when a service is away', () => {
    const rounds = [round({}, { 'cart-sink': away('cart-sink', START_MS) })];
    const since = new Map([['http://cart-sink', START_MS - 60_000]]);
    expect(describeRounds(rounds, since).verdict.since).toBe('2026-11-28T11:59:00.000Z');
  });

  it.each<[what: string, carts: object, title: string, command: string]>([
    [
      'a parked event',
      { parked: { count: 1, newest: [{ topic: 't', partition: 3, offset: '7', reason: 'no value', command: 'C' }] } },
      'an event is parked',
      'C',
    ],
    [
      'several, the newest first',
      { parked: { count: 2, newest: [{ command: 'C 2' }, { command: 'C 1' }] } },
      '2 events are parked',
      'C 2',
    ],
    [
      'an audit with differences',
      { lastAudit: { at: '2026-11-28T11:00:00.000Z', orders: '9', differences: '3', verdict: 'differ' } },
      'the last audit found 3 differences',
      'npm run audit',
    ],
  ])('is not well while somebody must decide about %s', (_what, carts, title, command) => {
    const nothing = { haltedPartitions: [], partitions: [], parked: { count: 0, newest: [] }, lastAudit: null };
    const sink = { ...reading('cart-sink', sinkText({}), START_MS), carts: { ...nothing, ...carts } as never };
    const overview = describeRounds([round({}, { 'cart-sink': sink })], new Map());
    expect(overview.verdict).toMatchObject({ kind: 'to-decide', title, command });
    expect(exitCodeOf(overview)).toBe(1);
  });

  it('names a halted partition with the command that the sink keeps for it', () => {
    const halted = {
      state: 'halted',
      haltedPartitions: [{ topic: 't', partition: 3, code: 'UNKNOWN_SCHEMA', message: 'm' }],
    };
    const verdict = verdictOf(round({}, { 'cart-sink': halted }));
    expect(verdict).toMatchObject({ kind: 'halted', title: 't[3] is halted: UNKNOWN_SCHEMA', detail: 'm' });
  });
});

describe('the figures', () => {
  it('are null, and not 0, where nobody has given them', () => {
    const rounds = [
      round({}, { 'cdc-reader': away('cdc-reader', START_MS), 'cart-sink': away('cart-sink', START_MS) }),
    ];
    const { ladder, rates, latency, safety, carts } = describeRounds(rounds, new Map());
    expect(ladder.flatMap(({ lsn, gapBytes }) => [lsn, gapBytes])).toEqual(Array(12).fill(null));
    expect(rates).toEqual({ read: null, published: null, applied: null });
    expect([latency.ofLastMinute, carts]).toEqual([null, null]);
    expect(safety).toEqual({
      slotsAt: null,
      slots: [],
      replayableFrom: null,
      heldPartitions: null,
      openTransactions: [],
    });
  });

  it('mark where most is missing', () => {
    const { ladder } = describeRounds([round({ written: 5_000_000, through: 1_000_000 })], new Map());
    expect(ladder.map(({ stage, gapBytes, isSlowest }) => [stage, gapBytes, isSlowest])).toEqual([
      ['written', null, false],
      ['sent', 0, false],
      ['received', 4_000_000, true],
      ['committed in Kafka', 0, false],
      ['acknowledged', 0, false],
      ['applied in carts', 0, false],
    ]);
  });

  it('tell what waits in front of Kafka in orders, and each gap in seconds; what is no gap has none', () => {
    const text = `${readerText({ written: 9_000_000, through: 8_000_000 })}
tillstream_reader_in_flight_orders 40
tillstream_reader_position_age_seconds{stage="sent"} 3
tillstream_reader_position_age_seconds{stage="received"} 4
tillstream_reader_position_age_seconds{stage="committed"} 30
tillstream_reader_position_age_seconds{stage="acknowledged"} 31`.replace(
      'stage="sent"} 9000000',
      'stage="sent"} 5000000',
    );
    const { ladder } = describeRounds([round({}, { 'cdc-reader': reading('cdc-reader', text, START_MS) })], new Map());
    expect(ladder.map(({ stage, gapRecords, gapSeconds }) => [stage, gapRecords, gapSeconds])).toEqual([
      ['written', null, null],
      ['sent', null, null], // what was received was sent
      ['received', null, null],
      ['committed in Kafka', 40, 26],
      ['acknowledged', null, null],
      ['applied in carts', 0, 0],
    ]);
  });

  it('of rates and latency are those of the last seconds and the last minute, and none over a restart', () => {
    const first = round({ published: 100, applied: 100, buckets: [100, 100] });
    const later = round({ atMs: seconds(10), published: 600, applied: 400, buckets: [190, 200] });
    const { rates, latency } = describeRounds([first, later], new Map());
    expect(rates).toEqual({ read: 50, published: 50, applied: 30 });
    expect(latency.ofLastMinute).toMatchObject({ count: 100, max: 0.1 });
    expect(latency.ofLastMinute!.p50).toBeCloseTo(0.0055, 3);
    const restarted = round({ atMs: seconds(20), published: 5, applied: 5, buckets: [5, 5] });
    const after = describeRounds([later, restarted], new Map());
    expect(after.rates).toEqual({ read: null, published: null, applied: null });
    expect(after.latency.ofLastMinute).toBeNull();
  });

  it('of the slots are not there before the first start has made them, and missing later is missing', () => {
    const text = readerText({}).replace('wal_status="reserved"', 'wal_status="missing"');
    const slotsIn = (state: string) =>
      describeRounds(
        [round({}, { 'cdc-reader': reading('cdc-reader', text, START_MS, { state }) })],
        new Map(),
      ).safety.slots.map(({ walStatus }) => walStatus);
    expect(slotsIn('starting')).toEqual([]);
    expect(slotsIn('halted')).toEqual(['missing']);
    expect(slotsIn('streaming')).toEqual(['missing']);
  });

  it('of open transactions are those of the reader, the oldest first', () => {
    const labels = (partition: number, owner: string) =>
      `{partition="${partition}",producer="9",epoch="2",owner="${owner}"}`;
    const text = `${readerText({})}
tillstream_reader_open_transactions 2
tillstream_reader_open_transaction_seconds${labels(0, 'this-reader')} 0.2
tillstream_reader_open_transaction_seconds${labels(4, 'other')} 61
tillstream_reader_open_transaction_start_offset${labels(4, 'other')} 17`;
    const rounds = [round({}, { 'cdc-reader': reading('cdc-reader', text, START_MS) })];
    const overview = describeRounds(rounds, new Map());
    const common = { producerId: '9', producerEpoch: '2' };
    expect(overview.safety.heldPartitions).toBe(2);
    expect(overview.safety.openTransactions).toEqual([
      { ...common, partition: 4, isThisReader: false, seconds: 61, startOffset: 17 },
      { ...common, partition: 0, isThisReader: true, seconds: 0.2, startOffset: null },
    ]);
    expect(formatOverview(overview)).toMatch(/open transaction +in partition 4, of producer 9, for 61\.0 s/);
  });

  it('of a slot have the time that is left at the rate of the last minute', () => {
    const rounds = [round({ written: 1_000 }), round({ atMs: seconds(10), written: 11_000, through: 11_000 })];
    const { safety } = describeRounds(rounds, new Map());
    expect(safety.slots).toEqual([
      {
        slot: 'live',
        walStatus: 'reserved',
        retainedBytes: 500,
        safeBytes: 100_000,
        secondsLeft: 100,
        catalogXminAge: null,
      },
    ]);
    expect(safety.replayableFrom).toEqual({ wal: '0/10' });
  });
});
