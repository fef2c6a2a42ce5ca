// npm run bench -- [reader|sink|latency|replay|api|idle|slow|shapes|all] [--orders 100000] [--runs 3] [--tls] [--json FILE]: how fast the pipeline is
// with exactly-once fully on, on servers of its own that are gone afterwards. A backlog of one-transaction orders with three
// items each is drained by the reader and by pg_recvlogical in turns, then by the sink and by its SQL alone; then orders
// come at 200 and 1,000 a second. The oracle has counted and compared every order before a figure is printed: a table for
// people, and as the last line one JSON object.

import { writeFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { Command, InvalidArgumentError } from 'commander';
import { createOrderLoad, fillCarts } from '../support/load/order-load.ts';
import { createOracle, formatVerdict, type Oracle } from '../support/oracle/oracle.ts';
import { drainPgRecvlogical, drainReader, findPgRecvlogical, prepareReader } from './drain-reader.ts';
import { drainSink } from './drain-sink.ts';
import { fillIdleCart, type Idle, measureIdle } from './idle.ts';
import { measureLatency, warmUpSeconds } from './latency.ts';
import { nowMs } from './measure.ts';
import { measurePosts } from './post-orders.ts';
import { measureReplay } from './replay-rate.ts';
import { plotFigures } from './report/plot.ts';
import { findFloors, type Measured, summarizeRates, summarizeShapes } from './report/report.ts';
import { shapes as allShapes, measureShape } from './shapes.ts';
import { fillGreatestCart, sendSlowly } from './slow-clients.ts';
import { measureSqlAlone } from './sql-alone.ts';
import { type BenchStack, query, runEnvironment, startStack } from './stack.ts';

const stages = ['reader', 'sink', 'latency', 'replay', 'api', 'idle', 'slow', 'shapes'] as const;
type Stage = (typeof stages)[number];
/** Each needs what the ones before it leave: events in Kafka, applied orders. */
const needs: Readonly<Record<Stage, readonly Stage[]>> = {
  reader: ['reader'],
  sink: ['reader', 'sink'],
  latency: ['latency'],
  replay: ['reader', 'sink', 'replay'],
  api: ['api'],
  idle: ['idle'],
  slow: ['slow'],
  shapes: ['shapes'],
};
const latencyRates = [200, 1_000];
const postSeconds = 10;
const shapeItems = 90_000;

const parseCount = (text: string): number => {
  if (!/^[1-9]\d*$/.test(text)) throw new InvalidArgumentError('Expected a positive number.');
  return Number(text);
};
const program = new Command('bench')
  .argument('[stage]', `${stages.join(', ')} or all`, 'all')
  .option('--orders <count>', 'orders of the backlog', parseCount, 100_000)
  .option('--runs <count>', 'runs, in turns with what is compared', parseCount, 3)
  .option('--latency-seconds <count>', 'how long orders come at each rate', parseCount, 20)
  .option('--tls', 'the services reach the databases over TLS, and Kafka over TLS with a login (SCRAM)', false)
  .option('--json <file>', 'writes the figures there too, and a picture of them beside it (.svg)')
  .parse();
const { orders, runs, latencySeconds, tls, json } = program.opts<{
  orders: number;
  runs: number;
  latencySeconds: number;
  tls: boolean;
  json?: string;
}>();
const [named] = program.processedArgs as [string];
if (named !== 'all' && !stages.some((stage) => stage === named)) program.error(`There is no stage ${named}.`);
const wanted: ReadonlySet<Stage> = new Set(named === 'all' ? stages : needs[named as Stage]);

/** Of the next order that is placed beside those of the backlog. */
let nextNumber = orders;
const startedMs = nowMs();
const say = (text: string) => console.error(`${((nowMs() - startedMs) / 1_000).toFixed(1).padStart(6)} s  ${text}`);

if (process.platform !== 'linux') throw new Error('The benchmark reads /proc and runs on Linux only.');
const [loadBefore] = loadavg() as [number, number, number];
if (loadBefore > 1) say(`this machine is busy (load ${loadBefore.toFixed(1)}): ratios may hold, absolutes will not`);
const stack = await startStack({ tls });
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
  const measured: Measured = {
    orders,
    loadBefore,
    readers: [],
    plain: [],
    sinks: [],
    sqlAlone: [],
    latencies: [],
    replays: [],
    posts: [],
    idles: [],
    besideSlow: [],
    shapes: [],
  };
  const names = Array.from({ length: runs }, (_, index) => `run${index + 1}`);
  const environments = [];
  for (const name of names) environments.push(runEnvironment(stack, name, await stack.createCarts(`carts_${name}`)));
  if (wanted.has('reader')) await drainReaders(stack, environments, measured);
  if (wanted.has('sink')) await drainSinks(stack, environments, measured);
  if (wanted.has('latency')) await measureLatencies(stack, measured);
  if (wanted.has('replay')) {
    for (const source of ['kafka', 'wal'] as const) {
      measured.replays.push(await measureReplay(stack, environments.at(-1)!, source));
      say(`replay from ${source} ${Math.round(measured.replays.at(-1)!.ordersPerSecond)} orders/s`);
    }
  }
  if (wanted.has('api')) {
    for (let run = 1; run <= runs; run += 1) {
      measured.posts.push(await measurePosts(stack, environments[0]!, postSeconds));
      const { apiPerSecond, pgbenchPerSecond } = measured.posts.at(-1)!;
      say(
        `run ${run}: POST /orders ${Math.round(apiPerSecond)}/s, pgbench ${Math.round(pgbenchPerSecond ?? Number.NaN)}/s`,
      );
    }
  }
  if (wanted.has('idle')) measured.idles.push(await measureIdleServices(stack));
  if (wanted.has('slow')) await measureBesideSlowClients(stack, measured);
  if (wanted.has('shapes')) await measureShapes(stack, measured);
  print(measured);
}

type Environment = ReturnType<typeof runEnvironment>;

async function drainReaders(
  stack: BenchStack,
  environments: readonly Environment[],
  { readers, plain }: Measured,
): Promise<void> {
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
  const peer = findPgRecvlogical();
  if (peer === undefined) say('pg_recvlogical is missing: apt-get install postgresql-client gives the comparison');
  for (const [index, env] of environments.entries()) {
    const turns = [
      async () => {
        readers.push(await drainReader(stack, env, orders));
        say(`run ${index + 1}: reader ${Math.round(readers.at(-1)!.ordersPerSecond)} orders/s`);
      },
      async () => {
        if (peer === undefined) return;
        plain.push(orders / (await drainPgRecvlogical(peer, stack, `plain${index + 1}`, end!.lsn)));
        say(`run ${index + 1}: pg_recvlogical ${Math.round(plain.at(-1)!)} orders/s`);
      },
    ];
    for (const turn of index % 2 === 0 ? turns : turns.toReversed()) await turn();
  }
}

async function drainSinks(
  stack: BenchStack,
  environments: readonly Environment[],
  { sinks, sqlAlone }: Measured,
): Promise<void> {
  for (const [index, env] of environments.entries()) {
    const cartsUrl = env.CART_DATABASE_URL!;
    await fillCarts({ cartsUrl, first: 0, count: orders });
    await query(cartsUrl, 'VACUUM ANALYZE');
    const oracle = oracleOf(stack, env);
    await oracle.openCarts();
    const turns = [
      async () => {
        sinks.push(await drainSink(stack, env, orders));
        say(`run ${index + 1}: sink ${Math.round(sinks.at(-1)!.ordersPerSecond)} orders/s`);
        await requireClean(oracle, `run ${index + 1}`);
      },
      async () => {
        sqlAlone.push(await measureSqlAlone(await stack.createCarts(`sql_alone_${index + 1}`), orders));
        say(`run ${index + 1}: its SQL alone ${Math.round(sqlAlone.at(-1)!)} orders/s`);
      },
    ];
    for (const turn of index % 2 === 0 ? turns : turns.toReversed()) await turn();
  }
}

async function measureBesideSlowClients(stack: BenchStack, { besideSlow }: Measured): Promise<void> {
  const [ordersPerSecond] = latencyRates as [number];
  const { env, ranges, oracle } = await prepareLatency(stack, 'slow', [ordersPerSecond, ordersPerSecond]);
  await fillGreatestCart(env.CART_DATABASE_URL!);
  await oracle.openCarts();
  const without = await measureLatency(stack, env, ranges[0]!);
  let pages = 0;
  const beside = await measureLatency(stack, env, ranges[1]!, (url) => {
    const end = sendSlowly(url);
    return () => {
      pages = end();
    };
  });
  if (pages === 0) throw new Error('Beside the slow clients nobody got a page.');
  besideSlow.push({ without, beside });
  say(
    `slow clients: p99 ${beside.p99Ms.toFixed(1)} ms beside them (${pages} pages), ${without.p99Ms.toFixed(1)} ms without`,
  );
  await requireClean(oracle, 'slow');
}

async function measureLatencies(stack: BenchStack, { latencies }: Measured): Promise<void> {
  const { env, ranges, oracle } = await prepareLatency(stack, 'latency', latencyRates);
  await oracle.openCarts();
  for (const range of ranges) {
    latencies.push(await measureLatency(stack, env, range));
    const { p50Ms, p99Ms } = latencies.at(-1)!;
    say(`${range.ordersPerSecond} orders/s: COMMIT to COMMIT p50 ${p50Ms.toFixed(1)} ms, p99 ${p99Ms.toFixed(1)} ms`);
  }
  await requireClean(oracle, 'latency');
}

/** Fills carts for orders that come at these rates, one after the other; numbers above those of the other stages. */
async function prepareLatency(stack: BenchStack, name: string, rates: readonly number[]) {
  const cartsUrl = await stack.createCarts(`carts_${name}`);
  const env = runEnvironment(stack, name, cartsUrl);
  await prepareReader(stack, env);
  const ranges = [];
  for (const ordersPerSecond of rates) {
    const count = ordersPerSecond * latencySeconds;
    const withWarmUp = count + ordersPerSecond * warmUpSeconds;
    ranges.push({ first: nextNumber, count, ordersPerSecond });
    await fillCarts({ cartsUrl, first: nextNumber, count: withWarmUp });
    nextNumber += withWarmUp;
  }
  await query(cartsUrl, 'VACUUM ANALYZE');
  return { env, ranges, oracle: oracleOf(stack, env) };
}

async function measureIdleServices(stack: BenchStack): Promise<Idle> {
  const env = runEnvironment(stack, 'idle', await stack.createCarts('carts_idle'));
  await prepareReader(stack, env);
  await fillIdleCart(env.CART_DATABASE_URL!);
  const oracle = oracleOf(stack, env);
  await oracle.openCarts();
  say('three minutes without an order');
  const idle = await measureIdle(stack, env);
  say(`one order at a time: answer of POST to cart p50 ${idle.p50Ms.toFixed(1)} ms`);
  await requireClean(oracle, 'idle');
  return idle;
}

async function measureShapes(stack: BenchStack, measured: Measured): Promise<void> {
  for (const name of Object.keys(allShapes)) {
    const cost = await measureShape(stack, name, shapeItems, async (env) => {
      const oracle = oracleOf(stack, env);
      return { openCarts: oracle.openCarts, requireClean: () => requireClean(oracle, name) };
    });
    measured.shapes.push(cost);
    say(`${name}: reader ${cost.readerMicros.toFixed(1)} µs of CPU an item, sink ${cost.sinkMicros.toFixed(1)} µs`);
  }
}

function oracleOf(stack: BenchStack, env: Environment): Oracle {
  return createOracle({
    ordersUrl: env.ORDER_DATABASE_URL!,
    cartsUrl: env.CART_DATABASE_URL!,
    brokers: stack.brokers.split(','),
    ordersTopic: env.ORDERS_TOPIC!,
    checkpointTopic: env.CHECKPOINT_TOPIC!,
    slotName: env.SLOT_NAME!,
    consumerGroup: env.CONSUMER_GROUP!,
  });
}

async function requireClean(oracle: Oracle, what: string): Promise<void> {
  const verdict = await oracle.check();
  if (!verdict.clean) throw new Error(`The figures are worth nothing.\n${formatVerdict(verdict)}`);
  say(`${what}: the oracle has compared ${verdict.counts.orders} orders and finds no violation`);
}

function print(measured: Measured): void {
  const floors = findFloors(measured);
  const rates = summarizeRates(measured);
  const shapes = summarizeShapes(measured.shapes);
  console.log(
    `\n${orders} orders of three items, one transaction each; ${runs} runs${tls ? ' over TLS' : ''}; orders a second\n`,
  );
  console.table(rates);
  if (measured.shapes.length > 0) console.table(shapes);
  console.table(
    Object.fromEntries(floors.map(({ name, met, ...floor }) => [name, { ...floor, '': met ? 'met' : 'NOT met' }])),
  );
  const result = JSON.stringify({ ...measured, rates, floors, shapes });
  if (json !== undefined) {
    writeFileSync(json, `${result}\n`);
    writeFileSync(`${json.replace(/\.json$/, '')}.svg`, plotFigures({ floors, shapes }));
  }
  console.log(result);
}
