// More than fits into memory, or than anyone expected: a transaction of a million orders by INSERT and by COPY with the
// reader killed in the middle, a hundred thousand small ones, a burst, a sink that stands still. Everything passes, in
// order, and the reader stays below 512 MB resident (I1, I4, I5; faults G). The oracle holds all rows in memory, so the
// million is judged here: each ordinal once, in order in its partition, with the ids that the database has.

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type pg from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import { afterEach, describe, expect, it } from 'vitest';
import { createKafkaLog } from '#kafka/reading/log.ts';
import { plainServers } from '#kafka/servers.ts';
import { decodeOrderPlaced } from '#schemas/codec.ts';
import { silentLogger } from '../../support/kafka/admin.ts';
import { connectTo } from '../../support/postgres/order-database.ts';
import type { Service } from '../../support/process/service-process.ts';
import { withServer } from '../../support/stack/environment.ts';
import type { PipelineStage } from '../../support/stack/pipeline-stage.ts';
import { createPipelineStage } from '../../support/stack/pipeline-stage.ts';
import { createReplaceableSource } from '../../support/stack/replaceable-source.ts';
import { waitFor } from '../../support/wait.ts';

const million = 1_000_000;
const mostResidentBytes = 512 * 1024 * 1024;
const longMs = 900_000;

let cleanUp: () => Promise<void> = async () => undefined;
afterEach(() => cleanUp());

/** The most that the process ever had resident, or what it has now; 0 once it has died and was not yet waited for. */
function residentBytes(service: Service, which: 'VmHWM' | 'VmRSS'): number {
  const status = readFileSync(`/proc/${service.pid}/status`, 'utf8');
  const found = new RegExp(`^${which}:\\s+(\\d+) kB$`, 'm').exec(status);
  return found === null ? 0 : Number(found[1]) * 1024;
}

/** On a server of its own: whoever creates a slot waits for all transactions of its server, and a million takes a minute. */
async function createStage(label: string): Promise<PipelineStage> {
  const source = await createReplaceableSource(label);
  cleanUp = source.cleanUp;
  return source.stage;
}

/** Ids that need no lookup: number i as a UUID. */
const idOf = (number: number) => `00000000-0000-4000-8000-${number.toString(16).padStart(12, '0')}`;
const idSql = `('00000000-0000-4000-8000-' || lpad(to_hex(i), 12, '0'))::uuid`;

async function insertMillion(client: pg.Client): Promise<void> {
  await client.query('BEGIN');
  await client.query(
    `INSERT INTO orders (order_id, user_id, total_cents)
     SELECT ${idSql}, 'user-' || i % 5000, 300 FROM generate_series(0, ${million - 1}) AS i`,
  );
  await client.query(
    `INSERT INTO order_items (order_id, line_no, sku, quantity, unit_price_cents)
     SELECT ${idSql}, k, 'SKU-' || k, 1, 100 FROM generate_series(0, ${million - 1}) AS i, generate_series(1, 3) AS k`,
  );
  await client.query('COMMIT');
}

async function copyMillion(client: pg.Client): Promise<void> {
  function* chunks(lines: (number: number) => string): Generator<string> {
    for (let first = 0; first < million; first += 1_000) {
      let chunk = '';
      for (let number = first; number < first + 1_000; number += 1) chunk += lines(number);
      yield chunk;
    }
  }
  const copy = (target: string, lines: (number: number) => string) =>
    pipeline(Readable.from(chunks(lines)), client.query(copyFrom(`COPY ${target} FROM STDIN`)));
  await client.query('BEGIN');
  await copy('orders (order_id, user_id, total_cents)', (number) => `${idOf(number)}\tuser-${number % 5_000}\t300\n`);
  await copy('order_items (order_id, line_no, sku, quantity, unit_price_cents)', (number) =>
    [1, 2, 3].map((line) => `${idOf(number)}\t${line}\tSKU-${line}\t1\t100\n`).join(''),
  );
  await client.query('COMMIT');
}

/** Resolves when Postgres has been told of everything up to now: the reader does so only for what Kafka has committed. */
async function waitAcknowledged(stage: PipelineStage, deadlineMs: number): Promise<void> {
  const { ORDER_DATABASE_URL, SLOT_NAME } = stage.environment.env;
  await withServer(ORDER_DATABASE_URL, async (client) => {
    const [now] = (await client.query<{ at: string }>('SELECT pg_current_wal_flush_lsn() AS at')).rows;
    await waitFor(
      'everything to be published',
      async () => {
        const { rows } = await client.query<{ done: boolean }>(
          'SELECT confirmed_flush_lsn >= $1::pg_lsn AS done FROM pg_replication_slots WHERE slot_name = $2',
          [now!.at, SLOT_NAME],
        );
        return rows[0]!.done;
      },
      { deadlineMs, everyMs: 200 },
    );
  });
}

/** Reads what is committed in the live topic, one record at a time. */
async function judgeMillion(stage: PipelineStage): Promise<void> {
  const { env, servers } = stage.environment;
  const log = await createKafkaLog({
    kafka: plainServers(servers.directBrokers.split(',')),
    clientId: 'judge',
    logger: silentLogger,
  });
  const seen = new Uint8Array(million);
  const idAt = new Int32Array(million).fill(-1);
  const commits = new Set<bigint>();
  let wrongOrder = 0;
  let wrongContent = 0;
  try {
    for (const [partition, { earliest, highWatermark }] of await log.readOffsets(env.ORDERS_TOPIC)) {
      let before = -1;
      const range = { topic: env.ORDERS_TOPIC, partition, fromOffset: earliest, untilOffset: highWatermark };
      for await (const batch of log.readRecords({ ...range, isolation: 'read_committed', deadlineMs: 60_000 })) {
        for (const { value } of batch) {
          const event = decodeOrderPlaced(value!);
          const number = Number.parseInt(event.orderId.slice(-12), 16);
          commits.add(event.commitLsn);
          if (event.ordinal <= before) wrongOrder += 1;
          before = event.ordinal;
          seen[event.ordinal]! += 1;
          idAt[number] = event.ordinal;
          const skus = event.items.map(({ lineNo, sku }) => `${lineNo} ${sku}`).join();
          if (skus !== '1 SKU-1,2 SKU-2,3 SKU-3' || event.userId !== `user-${number % 5_000}`) wrongContent += 1;
        }
      }
    }
  } finally {
    await log.close();
  }
  expect({ wrongOrder, wrongContent, commits: commits.size }).toEqual({ wrongOrder: 0, wrongContent: 0, commits: 1 });
  const digest = (numbers: Iterable<number>) => createHash('sha256').update(Int32Array.from(numbers)).digest('hex');
  expect(seen.every((times) => times === 1)).toBe(true);
  // In insertion order: the ordinal of number i is i.
  expect(digest(idAt)).toBe(digest(idAt.keys()));
}

describe('one transaction of a million orders with three items each', () => {
  it.each([
    ['INSERT', insertMillion],
    ['COPY', copyMillion],
  ])(
    'by %s passes, a short transaction timeout and a crash in the middle notwithstanding',
    { timeout: longMs },
    async (how, write) => {
      const stage = await createStage('million');
      const more = { TRANSACTION_TIMEOUT_MS: '6000', WAL_SENDER_TIMEOUT_MS: '10000' };
      // After the second partial checkpoint: part of it is visible, the rest is not.
      const first = await stage.startStreaming({ failpoints: 'reader.after-partial=kill:2', more });
      const client = await connectTo(stage.environment.env.ORDER_DATABASE_URL);
      try {
        await write(client);
      } finally {
        await client.end();
      }
      const dead = waitFor('the reader to be killed in the middle', () => first.exitCode === null, {
        deadlineMs: 300_000,
        everyMs: 200,
      });
      let most = 0;
      const watch = setInterval(() => {
        if (first.exitCode === undefined) most = Math.max(most, residentBytes(first, 'VmHWM'));
      }, 100);
      await dead.finally(() => clearInterval(watch));
      const sinceMs = performance.now();
      const second = await stage.startStreaming({ more });
      await waitAcknowledged(stage, 400_000);
      most = Math.max(most, residentBytes(second, 'VmHWM'));
      const seconds = Math.round((performance.now() - sinceMs) / 1_000);
      console.info(`${how}: published ${seconds} s after the crash, at most ${Math.round(most / 2 ** 20)} MB resident`);
      expect(most).toBeGreaterThan(0);
      expect(most).toBeLessThan(mostResidentBytes);
      await judgeMillion(stage);
    },
  );
});

describe('orders in numbers', () => {
  it('a hundred thousand transactions of one order pass within bounded memory', { timeout: longMs }, async () => {
    const stage = await createStage('many');
    const reader = await stage.startStreaming();
    const sinceMs = performance.now();
    await stage.load.backlog({ first: 0, count: 100_000 });
    await waitAcknowledged(stage, 300_000);
    const seconds = Math.round((performance.now() - sinceMs) / 1_000);
    const most = residentBytes(reader, 'VmHWM');
    console.info(`100,000 transactions: ${seconds} s, at most ${Math.round(most / 2 ** 20)} MB resident`);
    expect(most).toBeGreaterThan(0);
    expect(most).toBeLessThan(mostResidentBytes);
    await stage.requireClean(120_000);
  });

  it('a sink that stands still does not grow the reader, and catches up; so does a burst of ten times the load', {
    timeout: longMs,
  }, async () => {
    const stage = await createPipelineStage('standstill', { carts: true });
    cleanUp = stage.cleanUp;
    const sink = await stage.startSink();
    const reader = await stage.startStreaming();
    await stage.openCarts(31_000);
    await stage.load.backlog({ first: 0, count: 10_000 });
    await stage.requireClean(120_000);
    const before = residentBytes(reader, 'VmRSS');
    sink.pause();
    await stage.load.backlog({ first: 10_000, count: 18_000 });
    // Ten times the pace, the sink still standing.
    await stage.load.pace({ first: 28_000, count: 200, ordersPerSecond: 40 });
    await stage.load.pace({ first: 28_200, count: 2_000, ordersPerSecond: 400 });
    await waitFor(
      'all to be published',
      async () => (await reader.metrics()).get('tillstream_reader_orders_published_total') === 30_200,
      { deadlineMs: 60_000 },
    );
    expect(residentBytes(reader, 'VmRSS') - before).toBeLessThan(64 * 1024 * 1024);
    expect(residentBytes(reader, 'VmHWM')).toBeLessThan(mostResidentBytes);
    sink.resume();
    const sinceMs = performance.now();
    await stage.requireClean(180_000);
    console.info(`sink woken: ${Math.round((performance.now() - sinceMs) / 1_000)} s for 20,200 orders`);
  });
});
