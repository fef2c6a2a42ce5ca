// How long after an order's COMMIT its goods are out of the cart: both ends are the commit timestamps that the two
// databases keep themselves (one machine, one clock), so nothing that measures stands in between. Postgres takes a
// timestamp when it writes the commit record, before it is flushed: the order's flush counts, the cart's does not.

import { writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { waitFor } from '../../dev/process/wait-for.ts';
import { createOrderLoad, type OrderRange } from '../support/load/order-load.ts';
import { cpuSeconds, peakMemoryMb, percentile } from './measure.ts';
import { type BenchStack, query } from './stack.ts';

export interface Latency {
  readonly wantedPerSecond: number;
  readonly ordersPerSecond: number;
  readonly measured: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
  /** Share of one core, 0 to 1. */
  readonly readerCpu: number;
  readonly sinkCpu: number;
  readonly sinkPeakMemoryMb: number;
}

/** At the same pace, before what is measured: a broker compiles its hot paths in its first 20 s, and takes twice as long meanwhile. */
export const warmUpSeconds = 20;
/** Beyond this, something stood still, and the services' logs are kept to tell what. */
const strangeMs = 1_000;

/**
 * Runs reader and sink, places orders at a pace and measures those after a warm-up; throws when one is not applied.
 * Numbers from `range.first` on are used, the warm-up's included.
 */
export async function measureLatency(
  stack: BenchStack,
  env: Record<string, string>,
  range: OrderRange & { readonly ordersPerSecond: number },
  /** Begins what goes on meanwhile at the sink's address; the result ends it. */
  beside: (sinkUrl: string) => () => unknown = () => () => undefined,
): Promise<Latency> {
  const reader = await stack.startService('cdc-reader', env);
  const sink = await stack.startService('cart-sink', env);
  const load = await createOrderLoad({ ordersUrl: env.ORDER_DATABASE_URL! });
  try {
    await Promise.all([reader.waitForLog('reader.streaming'), sink.waitForLog('sink.assigned')]);
    // The first start publishes what earlier stages have placed: that must not stand in front of what is measured.
    await waitFor('the orders of before to be applied', () => isCaughtUp(env), { deadlineMs: 120_000 });
    const { first, count, ordersPerSecond } = range;
    const warmUpOrders = warmUpSeconds * ordersPerSecond;
    const end = beside(sink.url);
    await load.pace({ first, count: warmUpOrders, ordersPerSecond });
    const cpuBefore = [cpuSeconds(reader.pid), cpuSeconds(sink.pid)];
    const startMs = performance.now();
    const placed = await load.pace({ first: first + warmUpOrders, count, ordersPerSecond });
    const seconds = (performance.now() - startMs) / 1_000;
    end();
    const [readerCpu, sinkCpu] = [reader, sink].map(({ pid }, i) => (cpuSeconds(pid) - cpuBefore[i]!) / seconds);
    const ids = placed.map(({ orderId }) => orderId);
    const latencies = await waitFor('all orders to be applied', () => readLatencies(env, ids), { deadlineMs: 30_000 });
    if (percentile(latencies, 1) > strangeMs) {
      for (const { name, logs, output } of [reader, sink]) {
        const file = join(tmpdir(), `tillstream-bench-${process.pid}-${name}.log`);
        writeFileSync(file, [...logs.map((entry) => JSON.stringify(entry)), ...output, ''].join('\n'));
        console.error(`An order took more than ${strangeMs} ms; the log of ${name} is kept in ${file}`);
      }
    }
    return {
      wantedPerSecond: ordersPerSecond,
      ordersPerSecond: count / seconds,
      measured: latencies.length,
      p50Ms: percentile(latencies, 0.5),
      p99Ms: percentile(latencies, 0.99),
      maxMs: percentile(latencies, 1),
      readerCpu: readerCpu!,
      sinkCpu: sinkCpu!,
      sinkPeakMemoryMb: peakMemoryMb(sink.pid),
    };
  } finally {
    await load.close();
    await Promise.all([reader.stop(), sink.stop()]);
  }
}

/** Whether the ledger holds as many orders as were placed. */
export async function isCaughtUp(env: Record<string, string>): Promise<boolean> {
  const count = async (url: string, table: string) =>
    (await query<{ count: number }>(url, `SELECT count(*)::int AS count FROM ${table}`))[0]!.count;
  return (await count(env.CART_DATABASE_URL!, 'applied_orders')) >= (await count(env.ORDER_DATABASE_URL!, 'orders'));
}

/** When the transactions that inserted these orders committed, in µs since 1970 by the database's clock. */
export async function readCommitTimes(
  url: string,
  table: 'orders' | 'applied_orders',
  ids: readonly string[],
): Promise<ReadonlyMap<string, bigint>> {
  const micros = '(extract(epoch FROM pg_xact_commit_timestamp(xmin)) * 1000000)::bigint::text';
  const sql = `SELECT order_id, ${micros} AS at FROM ${table} WHERE order_id = ANY($1)`;
  return new Map(
    (await query<{ order_id: string; at: string }>(url, sql, [ids])).map((row) => [row.order_id, BigInt(row.at)]),
  );
}

async function readLatencies(env: Record<string, string>, ids: readonly string[]): Promise<number[] | false> {
  const applied = await readCommitTimes(env.CART_DATABASE_URL!, 'applied_orders', ids);
  if (applied.size < ids.length) return false;
  const ordered = await readCommitTimes(env.ORDER_DATABASE_URL!, 'orders', ids);
  return ids.map((id) => Number(applied.get(id)! - ordered.get(id)!) / 1_000);
}
