// POST /orders with 32 keep-alive connections, and pgbench with 32 sessions running the same transaction beside it: one
// statement that inserts an order and its three items. What was answered with 201 is counted in the table. Requests come from
// undici: node:http takes as much CPU for a request as the service, of the two cores that both share.

import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Pool } from 'undici';
import { type BenchStack, query } from './stack.ts';

export interface PostRate {
  readonly apiPerSecond: number;
  /** Null where pgbench is not installed. */
  readonly pgbenchPerSecond: number | null;
}

const connections = 32;
const warmUpMs = 3_000;
const headers = { 'content-type': 'application/json' };
const items = [1, 2, 3].map((number) => ({ sku: `SKU-${number}`, quantity: number, unitPriceCents: 450 }));

const transaction = `\\set user random(1, 100000)
WITH placed AS (
  INSERT INTO public.orders (order_id, user_id, source, currency, total_cents)
  VALUES (gen_random_uuid(), 'user-' || :user, 'cart', 'USD', 2700) RETURNING order_id, placed_at
), items AS (
  INSERT INTO public.order_items (order_id, line_no, sku, quantity, unit_price_cents)
  SELECT order_id, n, 'SKU-' || n, n, 450 FROM placed, generate_series(1, 3) AS n RETURNING order_id
)
SELECT placed_at, (SELECT count(*) FROM items) FROM placed;
`;

/** Both, in turns, for `seconds` each. */
export async function measurePosts(stack: BenchStack, env: Record<string, string>, seconds: number): Promise<PostRate> {
  const pgbenchPerSecond = await runPgbench(env.ORDER_DATABASE_URL!, seconds);
  const api = await stack.startService('order-api', env);
  try {
    await api.waitReady();
    await post(api.url, warmUpMs);
    const before = await countOrders(env.ORDER_DATABASE_URL!);
    const startMs = performance.now();
    const answered = await post(api.url, seconds * 1_000);
    const apiPerSecond = answered / ((performance.now() - startMs) / 1_000);
    const placed = (await countOrders(env.ORDER_DATABASE_URL!)) - before;
    if (placed !== answered) throw new Error(`${answered} orders were answered with 201, and ${placed} were placed.`);
    return { apiPerSecond, pgbenchPerSecond };
  } finally {
    await api.stop();
  }
}

/** @returns how many were answered with 201. @throws at any other answer */
async function post(url: string, ms: number): Promise<number> {
  const clients = new Pool(url, { connections, pipelining: 1 });
  const untilMs = performance.now() + ms;
  let answered = 0;
  const work = async (number: number): Promise<void> => {
    for (let turn = 0; performance.now() < untilMs; turn += 1) {
      const body = JSON.stringify({ userId: `user-${number}-${turn % 1_000}`, items });
      const answer = await clients.request({ path: '/orders', method: 'POST', headers, body });
      await answer.body.dump();
      if (answer.statusCode !== 201) throw new Error(`POST /orders was answered with ${answer.statusCode}.`);
      answered += 1;
    }
  };
  try {
    await Promise.all(Array.from({ length: connections }, (_, number) => work(number)));
  } finally {
    await clients.close();
  }
  return answered;
}

async function countOrders(url: string): Promise<number> {
  return (await query<{ n: number }>(url, 'SELECT count(*)::int AS n FROM orders'))[0]!.n;
}

async function runPgbench(ordersUrl: string, seconds: number): Promise<number | null> {
  const folder = mkdtempSync(join(tmpdir(), 'tillstream-pgbench-'));
  const script = join(folder, 'order.sql');
  writeFileSync(script, transaction);
  const load = ['-n', '-M', 'prepared', '-c', String(connections), '-j', '2', '-T', String(seconds), '-f', script];
  try {
    const { stdout } = await promisify(execFile)('pgbench', [...load, ordersUrl]);
    return Number(/^tps = ([\d.]+)/m.exec(stdout)![1]);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  } finally {
    rmSync(folder, { recursive: true });
  }
}
