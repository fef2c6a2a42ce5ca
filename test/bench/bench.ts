// npm run bench -- [--orders 100000] [--runs 3]: how fast the pipeline is with exactly-once fully on, on servers of its
// own that are gone afterwards. A backlog of one-transaction orders with three items each is drained by the reader and
// by pg_recvlogical in turns, then by the sink; then orders come at 200 a second. The oracle has counted and compared
// every order before a figure is printed: a table for people, and one line of JSON.

import { loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import { createOrderLoad, fillCarts } from '../support/load/order-load.ts';
import { createOracle, formatVerdict } from '../support/oracle/oracle.ts';
import { drainPgRecvlogical, drainReader, findPgRecvlogical, prepareReader, type ReaderDrain } from './drain-reader.ts';
import { drainSink, type SinkDrain } from './drain-sink.ts';
import { type Latency, measureLatency } from './latency.ts';
import { median, nowMs } from './measure.ts';
import { measureReplay, type ReplayRate } from './replay-rate.ts';
import { type BenchStack, query, runEnvironment, startStack } from './stack.ts';

const { values } = parseArgs({
  options: {
    orders: { type: 'string', default: '100000' },
    runs: { type: 'string', default: '3' },
    'latency-seconds': { type: 'string', default: '20' },
  },
});
const [orders, runs, latencySeconds] = [values.orders, values.runs, values['latency-seconds']].map((text) => {
  if (!/^[1-9]\d*$/.test(text)) throw new Error(`${text} is no positive number.`);
  return Number(text);
}) as [number, number, number];
const latencyRate = 200;
const rowsPerOrder = 4;
const startedMs = nowMs();
const say = (text: string) => console.error(`${((nowMs() - startedMs) / 1_000).toFixed(1).padStart(6)} s  ${text}`);

if (process.platform !== 'linux') throw new Error('The benchmark reads /proc and runs on Linux only.');
const [loadBefore] = loadavg() as [number, number, number];
if (loadBefore > 1) say(`this machine is busy (load ${loadBefore.toFixed(1)}): ratios may hold, absolutes will not`);
const stack = await startStack();
// Ctrl-C ends the servers by way of their guards, and what was started here by way of an exception.
let interrupted = false;
process.once('SIGINT', () => {
  interrupted = true;
  say('interrupted; cleaning up (the step that is running fails)');
  void stack.close().finally(() => process.exit(130));
});
try {
  await bench(stack);
} catch (error) {
  if (!interrupted) throw error;
} finally {
  if (!interrupted) await stack.close();
}

async function bench(stack: BenchStack): Promise<void> {
  const names = Array.from({ length: runs }, (_, index) => `run${index + 1}`);
  const environments = [];
  for (const name of names) environments.push(runEnvironment(stack, name, await stack.createCarts(`carts_${name}`)));
  for (const [index, env] of environments.entries()) {
    await prepareReader(stack, env);
    await query(stack.ordersUrl, `SELECT pg_create_logical_replication_slot($1, 'pgoutput')`, [`plain${index + 1}`]);
  }
  say(`servers, slots and topics are ready; building a backlog of ${orders} orders`);
  const load = await createOrderLoad({ ordersUrl: stack.ordersUrl });
  await load.backlog({ first: 0, count: orders });
  await load.close();
  for (const statement of ['CHECKPOINT', 'VACUUM ANALYZE']) await query(stack.ordersUrl, statement);
  const [end] = await query<{ lsn: string }>(stack.ordersUrl, 'SELECT pg_current_wal_flush_lsn()::text AS lsn');

  const program = findPgRecvlogical();
  if (program === undefined) say('pg_recvlogical is missing: apt-get install postgresql-client gives the comparison');
  const readers: ReaderDrain[] = [];
  const plain: number[] = [];
  for (const [index, env] of environments.entries()) {
    const turns = [
      async () => {
        readers.push(await drainReader(env, orders));
        say(`run ${index + 1}: reader ${Math.round(readers.at(-1)!.ordersPerSecond)} orders/s`);
      },
      async () => {
        if (program === undefined) return;
        plain.push(orders / (await drainPgRecvlogical(program, stack, `plain${index + 1}`, end!.lsn)));
        say(`run ${index + 1}: pg_recvlogical ${Math.round(plain.at(-1)!)} orders/s`);
      },
    ];
    for (const turn of index % 2 === 0 ? turns : turns.toReversed()) await turn();
  }

  const sinks: SinkDrain[] = [];
  const latencyRange = { first: orders, count: latencyRate * latencySeconds, ordersPerSecond: latencyRate };
  let latency: Latency | undefined;
  for (const [index, env] of environments.entries()) {
    const cartsUrl = env.CART_DATABASE_URL!;
    await fillCarts({ cartsUrl, first: 0, count: orders + latencyRange.count });
    await query(cartsUrl, 'VACUUM ANALYZE');
    const oracle = createOracle({
      ordersUrl: stack.ordersUrl,
      cartsUrl,
      brokers: stack.brokers.split(','),
      ordersTopic: env.ORDERS_TOPIC!,
      checkpointTopic: env.CHECKPOINT_TOPIC!,
      slotName: env.SLOT_NAME!,
      consumerGroup: env.CONSUMER_GROUP!,
    });
    await oracle.openCarts();
    sinks.push(await drainSink(env, orders));
    say(`run ${index + 1}: sink ${Math.round(sinks.at(-1)!.ordersPerSecond)} orders/s`);
    if (index === environments.length - 1) {
      latency = await measureLatency(env, latencyRange);
      say(`latency p50 ${latency.p50Ms.toFixed(1)} ms, p99 ${latency.p99Ms.toFixed(1)} ms`);
    }
    const verdict = await oracle.check();
    if (!verdict.clean) throw new Error(`The figures are worth nothing.\n${formatVerdict(verdict)}`);
    say(`run ${index + 1}: the oracle has compared ${verdict.counts.orders} orders and finds no violation`);
  }
  const replays: ReplayRate[] = [];
  for (const source of ['kafka', 'wal'] as const) {
    replays.push(await measureReplay(environments.at(-1)!, source));
    say(`replay from ${source} ${Math.round(replays.at(-1)!.ordersPerSecond)} orders/s`);
  }
  print(readers, plain, sinks, latency!, replays);
}

function print(
  readers: readonly ReaderDrain[],
  plain: readonly number[],
  sinks: readonly SinkDrain[],
  latency: Latency,
  replays: readonly ReplayRate[],
) {
  const of = <T>(list: readonly T[], pick: (one: T) => number) => median(list.map(pick));
  const readerRate = of(readers, ({ ordersPerSecond }) => ordersPerSecond);
  const plainRate = plain.length > 0 ? median(plain) : undefined;
  const sinkRate = of(sinks, ({ ordersPerSecond }) => ordersPerSecond);
  const result = {
    orders,
    runs,
    loadBefore: round(loadBefore),
    reader: {
      ordersPerSecond: Math.round(readerRate),
      rowsPerSecond: Math.round(readerRate * rowsPerOrder),
      cpuSeconds: round(of(readers, (drain) => drain.cpuSeconds)),
      walsenderCpuSeconds: round(of(readers, ({ walsenderCpuSeconds }) => walsenderCpuSeconds)),
      peakMemoryMb: Math.round(Math.max(...readers.map((drain) => drain.peakMemoryMb))),
      startSeconds: round(of(readers, ({ startSeconds }) => startSeconds)),
      all: readers.map(({ ordersPerSecond }) => Math.round(ordersPerSecond)),
    },
    pgRecvlogical:
      plainRate === undefined
        ? null
        : {
            ordersPerSecond: Math.round(plainRate),
            rowsPerSecond: Math.round(plainRate * rowsPerOrder),
            all: plain.map(Math.round),
          },
    readerToPgRecvlogical: plainRate === undefined ? null : round(readerRate / plainRate),
    sink: {
      ordersPerSecond: Math.round(sinkRate),
      cpuSeconds: round(of(sinks, (drain) => drain.cpuSeconds)),
      peakMemoryMb: Math.round(Math.max(...sinks.map((drain) => drain.peakMemoryMb))),
      startSeconds: round(of(sinks, ({ startSeconds }) => startSeconds)),
      all: sinks.map(({ ordersPerSecond }) => Math.round(ordersPerSecond)),
    },
    latency: {
      ordersPerSecond: Math.round(latency.ordersPerSecond),
      measured: latency.measured,
      p50Ms: round(latency.p50Ms),
      p99Ms: round(latency.p99Ms),
      maxMs: round(latency.maxMs),
      readerCpu: round(latency.readerCpu),
      sinkCpu: round(latency.sinkCpu),
    },
    replay: replays.map(({ source, ordersPerSecond }) => ({
      source,
      ordersPerSecond: Math.round(ordersPerSecond),
      toSink: round(ordersPerSecond / sinkRate),
    })),
  };
  const { reader, pgRecvlogical, sink } = result;
  console.log(
    `\n${orders} orders of three items, one transaction each; medians of ${runs} runs, memory is the highest\n`,
  );
  console.table({
    reader: row(reader.ordersPerSecond, reader.rowsPerSecond, reader.cpuSeconds, reader.peakMemoryMb),
    ...(pgRecvlogical && { pg_recvlogical: row(pgRecvlogical.ordersPerSecond, pgRecvlogical.rowsPerSecond) }),
    sink: row(sink.ordersPerSecond, undefined, sink.cpuSeconds, sink.peakMemoryMb),
    ...Object.fromEntries(result.replay.map((one) => [`replay from ${one.source}`, row(one.ordersPerSecond)])),
  });
  const per100k = 100_000 / orders;
  const slowest = Math.min(...result.replay.map(({ toSink }) => toSink));
  const floors = [
    atLeast('reader against pg_recvlogical, times', result.readerToPgRecvlogical, 1.4, 2),
    atMost('reader, CPU seconds for 100,000 orders', reader.cpuSeconds * per100k, 2, 1.5),
    atMost('reader, peak memory in MB', reader.peakMemoryMb, 150, 130),
    atMost('sink, CPU seconds for 100,000 orders', sink.cpuSeconds * per100k, 4.5, 3),
    atMost('sink, peak memory in MB', sink.peakMemoryMb, 160, 140),
    atLeast('slower replay against the sink, times', slowest, 0.7, 1),
    atMost(`COMMIT to COMMIT at ${latencyRate} orders/s, p50 in ms`, latency.p50Ms, 8, 5),
    atMost(`COMMIT to COMMIT at ${latencyRate} orders/s, p99 in ms`, latency.p99Ms, 45, 25),
    atMost('reader, seconds from exec to streaming with a backlog', reader.startSeconds, 1, 1),
  ];
  console.table(
    Object.fromEntries(floors.map(({ name, met, ...floor }) => [name, { ...floor, '': met ? 'met' : 'NOT met' }])),
  );
  console.log(JSON.stringify({ ...result, floors }));
}

interface Floor {
  readonly name: string;
  readonly value: number | null;
  readonly must: number;
  readonly stretch: number;
  readonly met: boolean;
}

function atLeast(name: string, value: number | null, must: number, stretch: number): Floor {
  return { name, value, must, stretch, met: value !== null && value >= must };
}

function atMost(name: string, value: number, must: number, stretch: number): Floor {
  return { name, value: round(value), must, stretch, met: value <= must };
}

function row(ordersPerSecond: number, rowsPerSecond?: number, cpu?: number, memoryMb?: number) {
  return { 'orders/s': ordersPerSecond, 'rows/s': rowsPerSecond ?? '', 'CPU s': cpu ?? '', 'peak MB': memoryMb ?? '' };
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}
