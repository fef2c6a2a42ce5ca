// A pipeline that has nothing to do: what it costs, and how long a single order takes from the answer of POST /orders to the
// commit of its cart. The second end is the commit timestamp that the carts database keeps itself; one machine, one clock.

import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { waitFor } from '../../dev/process/wait-for.ts';
import type { Service } from '../support/process/service-process.ts';
import { isCaughtUp, readCommitTimes } from './latency.ts';
import { cpuSeconds, nowMs, percentile } from './measure.ts';
import { type BenchStack, query } from './stack.ts';

export interface Idle {
  /** Shares of one core, 0 to 1. */
  readonly cpu: Readonly<Record<(typeof services)[number], number>>;
  /** What ten viewers of the console add to the reader's share. */
  readonly viewersCpu: number;
  readonly measured: number;
  readonly p50Ms: number;
  readonly maxMs: number;
}

const services = ['order-api', 'cdc-reader', 'cart-sink'] as const;
/** Once before what is measured: connections, timers and compiled code come to rest. */
const quietMs = 60_000;
const singleOrders = 30;
const viewers = 10;
/** Longer than everything that an order sets in motion. */
const betweenOrdersMs = 700;
const userId = 'idle-user';
const sku = 'IDLE-1';

/** The goods of the single orders; before the oracle opens the carts. */
export async function fillIdleCart(cartsUrl: string): Promise<void> {
  const insert = 'INSERT INTO cart_lines (line_id, user_id, sku, quantity) VALUES ($1, $2, $3, $4)';
  await query(cartsUrl, insert, [randomUUID(), userId, sku, 1_000]);
}

/** Runs all three services for three minutes without an order, in the last one with viewers of the console, then places single ones. */
export async function measureIdle(stack: BenchStack, env: Record<string, string>): Promise<Idle> {
  const running: Service[] = [];
  const start = async (name: (typeof services)[number], more: Record<string, string> = {}): Promise<Service> => {
    const service = await stack.startService(name, { ...env, ...more });
    running.push(service);
    await service.waitReady({ deadlineMs: 60_000 });
    return service;
  };
  try {
    const [api, sink] = await Promise.all([start('order-api'), start('cart-sink')]);
    const addresses = { ORDER_API_OPERATIONS_URL: api.url, CART_SINK_OPERATIONS_URLS: sink.url };
    const measured = [api, await start('cdc-reader', addresses), sink];
    await waitFor('the orders of before to be applied', () => isCaughtUp(env), { deadlineMs: 120_000 });
    await delay(quietMs);
    const shares = await measureShares(measured);
    const stopViewing = await viewConsole(measured[1]!.url, viewers);
    const viewed = await measureShares(measured);
    await stopViewing();
    const answeredMs = new Map<string, number>();
    for (let number = 0; number < singleOrders; number += 1) {
      const orderId = await placeOrder(api.url);
      answeredMs.set(orderId, nowMs());
      await delay(betweenOrdersMs);
    }
    const ids = [...answeredMs.keys()];
    const applied = await waitFor('all orders to be applied', async () => {
      const times = await readCommitTimes(env.CART_DATABASE_URL!, 'applied_orders', ids);
      return times.size === ids.length && times;
    });
    const latencies = ids.map((id) => Number(applied.get(id)!) / 1_000 - answeredMs.get(id)!);
    const cpu = Object.fromEntries(services.map((name, index) => [name, shares[index]!])) as Idle['cpu'];
    const viewersCpu = viewed[1]! - shares[1]!;
    return {
      cpu,
      viewersCpu,
      measured: ids.length,
      p50Ms: percentile(latencies, 0.5),
      maxMs: percentile(latencies, 1),
    };
  } finally {
    await Promise.all(running.map((service) => service.stop()));
  }
}

/** In the order of `services`. */
async function measureShares(measured: readonly Service[]): Promise<number[]> {
  const before = measured.map(({ pid }) => cpuSeconds(pid));
  await delay(quietMs);
  return measured.map(({ pid }, index) => (cpuSeconds(pid) - before[index]!) / (quietMs / 1_000));
}

/** Reads the console's events as so many browsers do, until the function that it returns is called. */
async function viewConsole(url: string, count: number): Promise<() => Promise<void>> {
  const leaving = new AbortController();
  const { signal } = leaving;
  const answers = await Promise.all(Array.from({ length: count }, () => fetch(`${url}/console/events`, { signal })));
  const reading = answers.map(async ({ body }) => {
    for await (const _ of body!) if (signal.aborted) return;
  });
  return async () => {
    leaving.abort();
    await Promise.allSettled(reading);
  };
}

async function placeOrder(url: string): Promise<string> {
  const response = await fetch(`${url}/orders`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ userId, items: [{ sku, quantity: 1, unitPriceCents: 450 }] }),
  });
  if (response.status !== 201) throw new Error(`POST /orders was answered with ${response.status}.`);
  return ((await response.json()) as { orderId: string }).orderId;
}
