// The figures of a run as a table for people and one JSON object for programs, each beside what must be reached. A stage
// that did not run has no figures, and its floors are not in the report. Pure.

import type { ReaderDrain } from '../drain-reader.ts';
import type { SinkDrain } from '../drain-sink.ts';
import type { Idle } from '../idle.ts';
import type { Latency } from '../latency.ts';
import { median, percentile } from '../measure.ts';
import type { PostRate } from '../post-orders.ts';
import type { ReplayRate } from '../replay-rate.ts';
import type { ShapeCost } from '../shapes.ts';

/** What was measured; lists are runs in turns, so that one index is one moment of the machine. */
export interface Measured {
  readonly orders: number;
  readonly loadBefore: number;
  readonly readers: ReaderDrain[];
  /** pg_recvlogical over the same backlog, orders a second. */
  readonly plain: number[];
  readonly sinks: SinkDrain[];
  /** The sink's statements by themselves, orders a second. */
  readonly sqlAlone: number[];
  readonly latencies: Latency[];
  readonly replays: ReplayRate[];
  readonly posts: PostRate[];
  readonly idles: Idle[];
  /** At the first of the rates, without slow clients and beside them. */
  readonly besideSlow: { readonly without: Latency; readonly beside: Latency }[];
  /** The first is the measure of the others. */
  readonly shapes: ShapeCost[];
}

export interface Floor {
  readonly name: string;
  readonly value: number;
  readonly must: number;
  readonly stretch: number;
  readonly met: boolean;
}

const round = (value: number): number => Math.round(value * 100) / 100;

/** Ratios are taken within a pair of neighbouring runs, and their median counts. */
function pairedRatio(ours: readonly number[], theirs: readonly number[]): number {
  return median(ours.slice(0, theirs.length).map((value, index) => value / theirs[index]!));
}

const rates = (list: readonly { ordersPerSecond: number }[]): number[] =>
  list.map(({ ordersPerSecond }) => ordersPerSecond);

export function findFloors(measured: Measured): Floor[] {
  const { orders, readers, plain, sinks, sqlAlone, latencies, replays, posts, idles, besideSlow, shapes } = measured;
  const per100k = 100_000 / orders;
  const compared = posts.filter((post) => post.pgbenchPerSecond !== null);
  const highest = (list: readonly { peakMemoryMb: number }[]) => Math.max(...list.map((one) => one.peakMemoryMb));
  const cpu = (list: readonly { cpuSeconds: number }[]) => median(list.map((one) => one.cpuSeconds)) * per100k;
  return [
    ...when(plain, () => [atLeast('reader against pg_recvlogical, times', pairedRatio(rates(readers), plain), 1.4, 2)]),
    ...when(readers, () => [
      atMost('reader, CPU seconds for 100,000 orders', cpu(readers), 2, 1.5),
      atMost('reader, peak memory in MB', highest(readers), 150, 130),
      atMost('reader, seconds from exec to streaming', median(readers.map((one) => one.startSeconds)), 1, 1),
    ]),
    ...when(sqlAlone, () => [
      atLeast('sink against its SQL alone, times', pairedRatio(rates(sinks), sqlAlone), 1, 1.5),
    ]),
    ...when(sinks, () => [
      atMost('sink, CPU seconds for 100,000 orders', cpu(sinks), 4.5, 3),
      atMost('sink, peak memory in MB', highest(sinks), 160, 140),
    ]),
    ...when(replays, () => [
      atLeast('slower replay against the sink, times', Math.min(...rates(replays)) / median(rates(sinks)), 0.7, 1),
    ]),
    ...latencies.flatMap(({ wantedPerSecond, p50Ms, p99Ms }) => [
      atMost(`COMMIT to COMMIT at ${wantedPerSecond} orders/s, p50 in ms`, p50Ms, 8, 5),
      atMost(`COMMIT to COMMIT at ${wantedPerSecond} orders/s, p99 in ms`, p99Ms, 45, 25),
    ]),
    ...idles.flatMap(({ cpu, viewersCpu, p50Ms }) => [
      atMost('idle, highest share of a core in percent', 100 * Math.max(...Object.values(cpu)), 0.5, 0.5),
      atMost('ten viewers of the console, more of a core in percent', 100 * viewersCpu, 1, 1),
      atMost('one order on an idle pipeline, answer of POST to cart, p50 in ms', p50Ms, 10, 5),
    ]),
    ...besideSlow.flatMap(({ without, beside }) => [
      atMost('p99 beside 500 slow clients against without, times', beside.p99Ms / without.p99Ms, 2, 1.2),
      atMost('sink beside 500 slow clients, peak memory in MB', beside.sinkPeakMemoryMb, 256, 200),
    ]),
    ...Object.entries(summarizeShapes(shapes)).map(([name, { reader, sink }]) =>
      atMost(`CPU an item: ${name}, reader or sink against 3 items, times`, Math.max(reader, sink), 1.25, 1),
    ),
    ...when(compared, () => [
      atLeast(
        'POST /orders against pgbench, times',
        pairedRatio(
          compared.map(({ apiPerSecond }) => apiPerSecond),
          compared.map(({ pgbenchPerSecond }) => pgbenchPerSecond!),
        ),
        0.5,
        0.8,
      ),
    ]),
  ];
}

function when(list: readonly unknown[], floors: () => Floor[]): Floor[] {
  return list.length === 0 ? [] : floors();
}

function atLeast(name: string, value: number, must: number, stretch: number): Floor {
  return { name, value: round(value), must, stretch, met: value >= must };
}

function atMost(name: string, value: number, must: number, stretch: number): Floor {
  return { name, value: round(value), must, stretch, met: value <= must };
}

interface Row {
  readonly median: number;
  readonly least: number;
  readonly most: number;
}

/** Orders a second of each thing that ran: median and spread. */
export function summarizeRates({ readers, plain, sinks, sqlAlone, replays, posts }: Measured): Record<string, Row> {
  const lists: Record<string, readonly number[]> = {
    reader: rates(readers),
    pg_recvlogical: plain,
    sink: rates(sinks),
    'its SQL alone': sqlAlone,
    ...Object.fromEntries(replays.map((one) => [`replay from ${one.source}`, [one.ordersPerSecond]])),
    'POST /orders': posts.map(({ apiPerSecond }) => apiPerSecond),
    pgbench: posts.flatMap(({ pgbenchPerSecond }) => pgbenchPerSecond ?? []),
  };
  return Object.fromEntries(
    Object.entries(lists)
      .filter(([, list]) => list.length > 0)
      .map(([name, list]) => [
        name,
        {
          median: Math.round(median(list)),
          least: Math.round(percentile(list, 0)),
          most: Math.round(percentile(list, 1)),
        },
      ]),
  );
}

export interface ShapeRow {
  /** Times the CPU for an item of the first shape. */
  readonly reader: number;
  readonly sink: number;
  readonly readerMicros: number;
  readonly sinkMicros: number;
}

export function summarizeShapes(shapes: readonly ShapeCost[]): Record<string, ShapeRow> {
  const [first] = shapes;
  return Object.fromEntries(
    shapes.map(({ name, readerMicros, sinkMicros }) => [
      name,
      {
        reader: round(readerMicros / first!.readerMicros),
        sink: round(sinkMicros / first!.sinkMicros),
        readerMicros: round(readerMicros),
        sinkMicros: round(sinkMicros),
      },
    ]),
  );
}
