// What the reader drains, and pg_recvlogical beside it: the same backlog behind slots that were made before it. The
// reader's time runs from its START_REPLICATION to the broker's time of the last committed event; pg_recvlogical's from
// its start to the last growth of what it wrote (it lingers until a keepalive). Only what was counted is returned.

import { spawn } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { readEvent } from '../support/oracle/event.ts';
import { readCommittedEnds, readTopic } from '../support/oracle/read-topic.ts';
import { cpuSeconds, loggedAtMs, nowMs, peakMemoryMb, writtenBytes } from './measure.ts';
import { type BenchStack, query } from './stack.ts';

export interface ReaderDrain {
  readonly ordersPerSecond: number;
  readonly seconds: number;
  readonly cpuSeconds: number;
  readonly walsenderCpuSeconds: number;
  readonly peakMemoryMb: number;
  /** From the start of the process to START_REPLICATION. */
  readonly startSeconds: number;
}

const stillMs = 1_000;
/** A look opens a Kafka and a Postgres connection; the times come from the broker and the log, so it may be seldom. */
const lookEveryMs = 500;
const deadlineMs = 300_000;

/** Makes slot, topics and checkpoint while there are no orders yet: the backlog then lies behind them. */
export async function prepareReader(
  stack: BenchStack,
  env: Record<string, string>,
  partitions?: number,
): Promise<void> {
  await stack.createTopic(env.ORDERS_TOPIC!, partitions);
  const reader = await stack.startService('cdc-reader', env);
  await reader.waitForLog('reader.streaming');
  await reader.waitForLog('reader.replay-window');
  await reader.stop();
}

/** Runs the reader until the topic holds `orders` events and no more come; throws when these are not `orders` different ones. */
export async function drainReader(
  stack: BenchStack,
  env: Record<string, string>,
  orders: number,
): Promise<ReaderDrain> {
  const { ORDERS_TOPIC: topic, ORDER_DATABASE_URL: ordersUrl, SLOT_NAME: slot } = env as Record<string, string>;
  const brokers = env.KAFKA_BROKERS!.split(',');
  const startMs = nowMs();
  const reader = await stack.startService('cdc-reader', env);
  try {
    const streamingMs = loggedAtMs(await reader.waitForLog('reader.streaming'));
    const cpuBefore = cpuSeconds(reader.pid);
    const end = await watchGrowth(orders, startMs + deadlineMs, async () => ({
      size: Number(await readCommittedEnds({ brokers, topic: topic!, deadlineMs: 10_000 })),
      cpu: cpuSeconds(reader.pid),
      walsender: await walsenderCpu(ordersUrl!, slot!),
    }));
    const memory = peakMemoryMb(reader.pid);
    const logs = await readTopic({ brokers, topic: topic!, deadlineMs: 60_000 });
    const events = logs.flatMap(({ records }) => records.filter(({ outcome }) => outcome === 'committed'));
    const different = new Set(events.map(({ value }) => readEvent(value)?.orderId)).size;
    if (different !== orders || events.length !== orders) {
      throw new Error(`The reader published ${events.length} events of ${different} orders instead of ${orders}.`);
    }
    const lastMs = events.reduce((latest, { timestampMs }) => Math.max(latest, timestampMs), 0);
    const seconds = (lastMs - streamingMs) / 1_000;
    return {
      ordersPerSecond: orders / seconds,
      seconds,
      cpuSeconds: end.cpu - cpuBefore,
      walsenderCpuSeconds: end.walsender,
      peakMemoryMb: memory,
      startSeconds: (streamingMs - startMs) / 1_000,
    };
  } finally {
    await reader.stop();
  }
}

async function walsenderCpu(ordersUrl: string, slot: string): Promise<number> {
  const sql = 'SELECT active_pid FROM pg_replication_slots WHERE slot_name = $1 AND active';
  const [found] = await query<{ active_pid: number }>(ordersUrl, sql, [slot]);
  return found === undefined ? Number.NaN : cpuSeconds(found.active_pid);
}

/** Looks until `size` has reached `wanted` and has not grown for a while; returns the look at the last growth. */
async function watchGrowth<T extends { size: number }>(
  wanted: number,
  untilMs: number,
  look: () => Promise<T>,
): Promise<T> {
  let last = await look();
  let grownMs = nowMs();
  for (;;) {
    await delay(lookEveryMs);
    const now = await look();
    if (now.size !== last.size) {
      last = now;
      grownMs = nowMs();
    }
    if (last.size >= wanted && nowMs() - grownMs > stillMs) return last;
    if (nowMs() > untilMs) throw new Error(`Only ${last.size} of ${wanted} came in time.`);
  }
}

/** Where Debian's client package has it; undefined when it is not installed. The newest version first. */
export function findPgRecvlogical(): string | undefined {
  const versions = existsSync('/usr/lib/postgresql') ? readdirSync('/usr/lib/postgresql') : [];
  const folders = versions.toSorted((a, b) => Number(b) - Number(a)).map((v) => `/usr/lib/postgresql/${v}/bin`);
  const path = (process.env.PATH ?? '').split(delimiter);
  return [...folders, ...path].map((folder) => join(folder, 'pg_recvlogical')).find(existsSync);
}

/** Streams everything behind `slot` up to `endLsn` to nowhere; returns the seconds that took. */
export async function drainPgRecvlogical(
  program: string,
  stack: BenchStack,
  slot: string,
  endLsn: string,
): Promise<number> {
  const url = new URL(stack.ordersUrl);
  const connection = ['-h', url.hostname, '-p', url.port, '-U', url.username, '-d', url.pathname.slice(1)];
  const options = ['-o', 'proto_version=1', '-o', 'publication_names=tillstream'];
  const args = [...connection, '--slot', slot, '--start', ...options, '--endpos', endLsn, '--no-loop', '-F', '0'];
  const startMs = nowMs();
  const child = spawn(program, [...args, '-f', '/dev/null'], { stdio: ['ignore', 'ignore', 'pipe'] });
  let complaint = '';
  child.stderr.on('data', (chunk) => {
    complaint += chunk;
  });
  let [bytes, endMs] = [0, startMs];
  const timer = setInterval(() => {
    if (child.exitCode !== null || !existsSync(`/proc/${child.pid}/io`)) return;
    const written = writtenBytes(child.pid!);
    if (written > bytes + 4_096) [bytes, endMs] = [written, nowMs()];
  }, 10);
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', resolve);
  }).finally(() => clearInterval(timer));
  if (code !== 0) throw new Error(`pg_recvlogical ended with ${code}: ${complaint}`);
  return (endMs - startMs) / 1_000;
}
