// What the sink drains: a topic full of orders into carts that hold their goods. The time runs from the moment at which
// it has its partitions to the last commit of its database, once the stored offsets are seen to be behind the last event.

import { setTimeout as delay } from 'node:timers/promises';
import { readTopic } from '../support/oracle/read-topic.ts';
import { cpuSeconds, loggedAtMs, nowMs, peakMemoryMb } from './measure.ts';
import { type BenchStack, query } from './stack.ts';

export interface SinkDrain {
  readonly ordersPerSecond: number;
  readonly seconds: number;
  readonly cpuSeconds: number;
  readonly peakMemoryMb: number;
  /** From the start of the process to the assignment of its partitions. */
  readonly startSeconds: number;
}

const deadlineMs = 300_000;
/** A look opens a connection; the time comes from the database's commit timestamps, so it may be seldom. */
const lookEveryMs = 500;

/** Runs the sink until it has applied all of its topic; throws when the ledger then holds other than `orders` orders. */
export async function drainSink(stack: BenchStack, env: Record<string, string>, orders: number): Promise<SinkDrain> {
  const { CART_DATABASE_URL: cartsUrl, ORDERS_TOPIC: topic, CONSUMER_GROUP: group } = env as Record<string, string>;
  const logs = await readTopic({ brokers: env.KAFKA_BROKERS!.split(','), topic: topic!, deadlineMs: 60_000 });
  const ends = new Map(logs.map(({ partition, records }) => [partition, (records.at(-1)?.offset ?? -1n) + 1n]));
  const startMs = nowMs();
  const sink = await stack.startService('cart-sink', env);
  try {
    const assignedMs = loggedAtMs(await sink.waitForLog('sink.assigned'));
    const cpuBefore = cpuSeconds(sink.pid);
    const offsetsSql = 'SELECT partition, next_offset FROM consumer_offsets WHERE consumer_group = $1 AND topic = $2';
    for (;;) {
      const rows = await query<{ partition: number; next_offset: string }>(cartsUrl!, offsetsSql, [group, topic]);
      const next = new Map(rows.map((row) => [row.partition, BigInt(row.next_offset)]));
      if ([...ends].every(([partition, end]) => (next.get(partition) ?? 0n) >= end)) break;
      if (nowMs() - startMs > deadlineMs) throw new Error('The sink did not apply everything in time.');
      await delay(lookEveryMs);
    }
    const lastSql =
      'SELECT extract(epoch FROM max(pg_xact_commit_timestamp(xmin)))::float8 AS last FROM applied_orders';
    const [{ last } = { last: Number.NaN }] = await query<{ last: number }>(cartsUrl!, lastSql);
    const seconds = last - assignedMs / 1_000;
    const cpu = cpuSeconds(sink.pid) - cpuBefore;
    const memory = peakMemoryMb(sink.pid);
    const [ledger] = await query<{ n: number }>(cartsUrl!, 'SELECT count(*)::int AS n FROM applied_orders');
    if (ledger!.n !== orders) throw new Error(`The sink applied ${ledger!.n} orders instead of ${orders}.`);
    return {
      ordersPerSecond: orders / seconds,
      seconds,
      cpuSeconds: cpu,
      peakMemoryMb: memory,
      startSeconds: (assignedMs - startMs) / 1_000,
    };
  } finally {
    await sink.stop();
  }
}
