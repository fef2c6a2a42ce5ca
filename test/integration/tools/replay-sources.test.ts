// The WAL and the tables as sources of a replay, beside a running reader: what they give is compared with what lies in
// the live topic and in the orders database.

import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createKafkaLog, type KafkaLog } from '#kafka/reading/log.ts';
import { plainServers } from '#kafka/servers.ts';
import { requireCaptured } from '#schemas/capture-fingerprint.ts';
import type { LsnRange } from '#schemas/checkpoint.ts';
import { decodeOrderPlaced } from '#schemas/codec.ts';
import { formatLsn, LSN_ZERO, type Lsn, parseLsn, toLsn } from '#schemas/lsn.ts';
import type { OrderPlaced } from '#schemas/order-placed.ts';
import { createLogger } from '#service/logger.ts';
import { serverOf } from '#service/postgres/database-server.ts';
import { createSourceSession } from '../../../cdc-reader/postgres/source-session.ts';
import { resolveInLog, resolveInWal, resolveTime } from '../../../tools/replay/sources/resolve-time.ts';
import type { ReplaySource, SourceChunk, SourceOrder } from '../../../tools/replay/sources/source.ts';
import {
  createTablesSource,
  formatTablesCursor,
  type TablesOptions,
} from '../../../tools/replay/sources/tables-source.ts';
import { createWalSource, formatWalCursor } from '../../../tools/replay/sources/wal-source.ts';
import { readWalTransactions, type WalOptions } from '../../../tools/replay/sources/wal-transactions.ts';
import { readTopic } from '../../support/oracle/read-topic.ts';
import {
  insertItemRow,
  insertOrderRow,
  insertWholeOrder,
  inTransaction,
} from '../../support/postgres/order-database.ts';
import { withServer } from '../../support/stack/environment.ts';
import { createPipelineStage, type PipelineStage } from '../../support/stack/pipeline-stage.ts';
import { waitFor } from '../../support/wait.ts';

const logger = createLogger('test', 'silent');
const never = new AbortController().signal;

let stage: PipelineStage;
let log: KafkaLog;
/** Of this test's own, so that no reader moves it. */
let windowSlotName: string;
let walOptions: WalOptions;
let checkpoint: TablesOptions['checkpoint'];

beforeAll(async () => {
  stage = await createPipelineStage('replay_sources');
  const { env } = stage.environment;
  log = await createKafkaLog({ kafka: plainServers(env.KAFKA_BROKERS.split(',')), clientId: 'test', logger });
  await stage.load.backlog({ first: 900_000, count: 30 }); // for the snapshot of the first start
  await stage.startStreaming();
  windowSlotName = `kept_${stage.environment.id}`;
  const identity = await query<{ id: string; database: string }>(
    `SELECT system_identifier::text AS id, current_database() AS database FROM pg_control_system(),
       pg_copy_logical_replication_slot('${env.SLOT_NAME}', '${windowSlotName}')`,
  );
  const session = await createSourceSession({
    postgres: serverOf(env.ORDER_DATABASE_URL),
    applicationName: 'replay-sources-test',
    onEnd: () => undefined,
  });
  const { fingerprint } = await session.readCapture(env.PUBLICATION_NAME);
  await session.close();
  walOptions = {
    captured: requireCaptured(fingerprint),
    postgres: serverOf(env.ORDER_DATABASE_URL),
    applicationName: 'replay-sources-test',
    publicationName: env.PUBLICATION_NAME,
    windowSlotName,
    walSenderTimeoutMs: 2_000,
    spillBytes: 65_536,
    spillDirectory: '/tmp',
    logger,
  };
  checkpoint = {
    systemIdentifier: identity[0]!.id,
    database: identity[0]!.database,
    generation: 1,
    partitions: 6,
    gaps: [],
  };
});

afterAll(async () => {
  await log?.close();
  await stage?.cleanUp();
});

async function query<R extends pg.QueryResultRow>(text: string, values: unknown[] = []): Promise<R[]> {
  const url = stage.environment.env.ORDER_DATABASE_URL;
  return withServer(url, async (client) => (await client.query<R>(text, values)).rows);
}

/** The end of the WAL, with the commits in it that did not wait to be flushed. */
async function readFlushLsn(): Promise<Lsn> {
  await query("SELECT pg_logical_emit_message(true, 'test', 'a synchronous commit')");
  return parseLsn((await query<{ lsn: string }>('SELECT pg_current_wal_flush_lsn()::text AS lsn'))[0]!.lsn);
}

async function readSlot(name: string): Promise<{ confirmed: Lsn; restart: Lsn }> {
  const [row] = await query<{ confirmed: string; restart: string }>(
    `SELECT confirmed_flush_lsn::text AS confirmed, restart_lsn::text AS restart
     FROM pg_replication_slots WHERE slot_name = $1`,
    [name],
  );
  return { confirmed: parseLsn(row!.confirmed), restart: parseLsn(row!.restart) };
}

interface LiveEvent {
  readonly partition: number;
  readonly value: Buffer;
  readonly event: OrderPlaced;
}

const byPosition = (a: LiveEvent, b: LiveEvent): number =>
  a.event.commitLsn === b.event.commitLsn
    ? a.event.ordinal - b.event.ordinal
    : a.event.commitLsn < b.event.commitLsn
      ? -1
      : 1;

/** What is committed in the live topic by position, once every order is in it. */
async function readLive(): Promise<LiveEvent[]> {
  const brokers = stage.environment.servers.directBrokers.split(',');
  const topic = stage.environment.env.ORDERS_TOPIC;
  const count = Number((await query<{ n: string }>('SELECT count(*) AS n FROM orders'))[0]!.n);
  return waitFor(
    'every order to be published',
    async () => {
      const partitions = await readTopic({ brokers, topic, deadlineMs: 20_000 });
      const live = partitions
        .flatMap(({ records }) => records.filter(({ outcome }) => outcome === 'committed'))
        .map(({ partition, value }) => ({ partition, value: value!, event: decodeOrderPlaced(value!) }));
      if (live.length < count) throw new Error(`${live.length} of ${count} are published`);
      return live.sort(byPosition);
    },
    { deadlineMs: 30_000, everyMs: 100 },
  );
}

const inRange = (live: readonly LiveEvent[], { fromLsn, toLsn: end }: LsnRange) =>
  live.filter(({ event }) => event.commitLsn >= fromLsn && event.commitLsn < end);

/** Comparable, and short enough for a readable difference. */
const texts = (orders: readonly Pick<SourceOrder, 'partition' | 'value' | 'event'>[]): string[] =>
  orders.map(
    ({ partition, value, event }) =>
      `${partition} ${formatLsn(event.commitLsn)}:${event.ordinal} ${event.orderId} ${value.toString('base64')}`,
  );

async function readChunks(
  source: ReplaySource,
  cursor: Parameters<ReplaySource['read']>[0] = null,
): Promise<SourceChunk[]> {
  const chunks: SourceChunk[] = [];
  for await (const chunk of source.read(JSON.parse(JSON.stringify(cursor)), never)) chunks.push(chunk);
  return chunks;
}
const ordersOf = (chunks: readonly SourceChunk[]): SourceOrder[] => chunks.flatMap(({ orders }) => orders);

const walSource = (range: LsnRange, change: Partial<WalOptions> = {}): ReplaySource =>
  createWalSource({ ...walOptions, ...change, checkpoint, range });

const temporarySlots = async (): Promise<string[]> => {
  const found = await query<{ slot_name: string }>(
    'SELECT slot_name FROM pg_replication_slots WHERE temporary AND database = current_database()',
  );
  return found.map(({ slot_name }) => slot_name);
};

describe('the WAL as a source', () => {
  let live: LiveEvent[];
  let whole: LsnRange;

  beforeAll(async () => {
    const { load } = stage;
    const { confirmed } = await readSlot(windowSlotName);
    await load.backlog({ first: 0, count: 60 });
    await load.insertTogether({ first: 1_000, count: 2_600 }); // some 700 kB of rows: beyond spillBytes, several chunks
    await load.copyTogether({ first: 5_000, count: 300 });
    await Promise.all([
      load.insertTogether({ first: 10_000, count: 150 }),
      load.copyTogether({ first: 20_000, count: 150 }),
      load.pace({ first: 30_000, count: 40, ordersPerSecond: 400 }),
    ]);
    for (let first = 40_000; first < 40_120; first += 12) await load.commitSideBySide({ first, count: 12 });
    await load.insertWithSavepoints(50_000);
    live = await readLive();
    whole = { fromLsn: confirmed, toLsn: await readFlushLsn() };
  });

  it('gives the very bytes of the live topic, each partition in its order, and nothing else', async () => {
    const expected = inRange(live, whole);
    expect(expected).toHaveLength(60 + 2_600 + 300 + 340 + 120 + 2);
    expect(live.length).toBe(expected.length + 30); // the snapshot's are not in the WAL
    const chunks = await readChunks(walSource(whole));
    expect(texts(ordersOf(chunks))).toEqual(texts(expected));
    expect(Math.max(...chunks.map(({ orders }) => orders.length))).toBeLessThanOrEqual(1_000);
    expect(ordersOf(chunks).map(({ key }) => key)).toEqual(expected.map(({ event }) => event.userId));
  });

  it('is exact at both ends, between adjacent commits too', async () => {
    const transactions: { commitLsn: Lsn; endLsn: Lsn }[] = [];
    for await (const batch of readWalTransactions(walOptions, whole, never)) {
      transactions.push(...batch.transactions.map(({ commitLsn, endLsn }) => ({ commitLsn, endLsn })));
    }
    const adjacent = transactions.flatMap(({ commitLsn, endLsn }, index) =>
      transactions[index + 1]?.commitLsn === endLsn ? [{ fromLsn: commitLsn, toLsn: endLsn }] : [],
    );
    expect(adjacent.length).toBeGreaterThan(0);
    const one = (lsn: Lsn, by: bigint) => toLsn(lsn + by);
    const ranges = adjacent.slice(0, 3).flatMap(({ fromLsn, toLsn: end }) => [
      { fromLsn, toLsn: end },
      { fromLsn: one(fromLsn, 1n), toLsn: end },
      { fromLsn, toLsn: one(end, 1n) },
      { fromLsn: end, toLsn: one(end, 1n) },
      { fromLsn: one(end, 1n), toLsn: whole.toLsn },
      { fromLsn: whole.fromLsn, toLsn: end },
      { fromLsn: end, toLsn: end },
    ]);
    // Ends at a commit that does not start where another one ended.
    const apart = transactions.slice(1).filter(({ commitLsn }, index) => transactions[index]!.endLsn < commitLsn);
    expect(apart.length).toBeGreaterThan(10);
    const separate = [apart[0]!, apart[9]!].map(({ commitLsn }) => ({ fromLsn: whole.fromLsn, toLsn: commitLsn }));
    for (const range of [...ranges, ...separate]) {
      expect(texts(ordersOf(await readChunks(walSource(range))))).toEqual(texts(inRange(live, range)));
    }
    const counts = ranges
      .slice(0, 5)
      .map((range) => new Set(inRange(live, range).map(({ event }) => event.commitLsn)).size);
    expect(counts.slice(0, 4)).toEqual([1, 0, 2, 1]);
  });

  it('goes on from every cursor with exactly the rest', async () => {
    const all = inRange(live, whole);
    const source = walSource(whole);
    const chunks = await readChunks(source);
    let given = 0;
    for (const { orders, cursor } of chunks) {
      given += orders.length;
      expect(texts(ordersOf(await readChunks(source, cursor)))).toEqual(texts(all.slice(given)));
    }
    for (let index = 0; index < all.length; index += 271) {
      const rest = await readChunks(source, formatWalCursor(all[index]!.event));
      expect(texts(ordersOf(rest))).toEqual(texts(all.slice(index + 1)));
    }
  });

  it('ends on an idle database, with nothing in the range or up to the very end of the WAL', async () => {
    const idle = { fromLsn: toLsn(live.at(-1)!.event.commitLsn + 1n), toLsn: await readFlushLsn() };
    const start = performance.now();
    expect(await readChunks(walSource(idle))).toEqual([]);
    expect(ordersOf(await readChunks(walSource({ ...whole, toLsn: idle.toLsn })))).toHaveLength(
      inRange(live, whole).length,
    );
    expect(performance.now() - start).toBeLessThan(10_000);
    await query('CREATE TABLE IF NOT EXISTS unrelated (n int)');
    await query('INSERT INTO unrelated SELECT generate_series(1, 1000)');
    expect(await readChunks(walSource({ ...idle, toLsn: await readFlushLsn() }))).toEqual([]);
  });

  it('moves neither the window nor the live slot, and leaves nothing behind', async () => {
    const before = await readSlot(windowSlotName);
    await readChunks(walSource(whole));
    const abandoned = walSource(whole).read(null, never)[Symbol.asyncIterator]();
    await abandoned.next();
    expect(await temporarySlots()).toEqual([expect.stringMatching(/^tillstream_replay_[0-9a-f]{8}$/)]);
    await abandoned.return?.();
    expect(await readSlot(windowSlotName)).toEqual(before);
    expect((await readSlot(stage.environment.env.SLOT_NAME)).confirmed).toBeGreaterThan(before.confirmed);
    await waitFor('the copies to be gone', async () => (await temporarySlots()).length === 0);
  });

  it('can be read twice at once', async () => {
    const [one, other] = await Promise.all([readChunks(walSource(whole)), readChunks(walSource(whole))]);
    expect(texts(ordersOf(one))).toEqual(texts(inRange(live, whole)));
    expect(texts(ordersOf(other))).toEqual(texts(inRange(live, whole)));
  });

  it('stops when it is told to, with the reason', async () => {
    const stop = new AbortController();
    const reading = walSource({ ...whole, toLsn: await readFlushLsn() }).read(null, stop.signal);
    const consume = async () => {
      for await (const _ of reading) stop.abort(new Error('Ctrl-C'));
    };
    await expect(consume()).rejects.toThrow('Ctrl-C');
    await waitFor('the copy to be gone', async () => (await temporarySlots()).length === 0);
  });

  it('refuses a range that its server has not, or not any more, or that is of another cluster', async () => {
    const { fromLsn, toLsn: end } = whole;
    const far = { fromLsn, toLsn: toLsn(end + 0x1_0000_0000n) };
    await expect(readChunks(walSource(far))).rejects.toMatchObject({ code: 'WAL_RANGE_GONE' });
    await expect(readChunks(walSource({ fromLsn: LSN_ZERO, toLsn: end }))).rejects.toMatchObject({
      code: 'WAL_RANGE_GONE',
    });
    await expect(readChunks(walSource(whole, { windowSlotName: 'nowhere' }))).rejects.toMatchObject({
      code: 'SLOT_COPY_MISSING',
    });
    const stranger = createWalSource({
      ...walOptions,
      checkpoint: { ...checkpoint, systemIdentifier: '1' },
      range: whole,
    });
    await expect(readChunks(stranger)).rejects.toMatchObject({ code: 'SOURCE_CHANGED' });
  });

  it('tells which order was the first from a time on, as the live topic does', async () => {
    const { env } = stage.environment;
    const topic = { log, topic: env.ORDERS_TOPIC, generation: 1, gaps: [] };
    const streamed = inRange(live, whole);
    const readWal = () => readWalTransactions(walOptions, whole, never);
    for (let index = 40; index < streamed.length; index += 400) {
      const at = streamed[index]!.event.committedAt - (index % 3 === 0 ? 1n : 0n);
      const first = streamed.find(({ event }) => event.committedAt >= at)!.event;
      const expected = { kind: 'found', commitLsn: first.commitLsn, committedAt: first.committedAt };
      expect(await resolveInLog({ at }, topic)).toEqual(expected);
      expect(await resolveInWal({ at, toleranceMicros: 0n }, readWal())).toEqual(expected);
      const gaps = [{ fromLsn: LSN_ZERO, toLsn: whole.toLsn }];
      expect(await resolveTime({ at, toleranceMicros: 0n }, { ...topic, gaps }, readWal)).toEqual(expected);
      expect(await resolveTime({ at }, { ...topic, gaps }, undefined)).toEqual({ kind: 'not-held' });
    }
    const late = { at: streamed.at(-1)!.event.committedAt + 60_000_000n };
    expect(await resolveInLog(late, topic)).toEqual({ kind: 'none' });
    expect(await resolveInWal(late, readWal())).toEqual({ kind: 'none' });
  });

  it('does not run ahead of its reader, who may be slower than wal_sender_timeout', async () => {
    const { fromLsn } = { fromLsn: await readFlushLsn() };
    await stage.load.backlog({ first: 100_000, count: 60_000 });
    const range = { fromLsn, toLsn: await readFlushLsn() };
    const orders: string[] = [];
    let sent: Lsn | undefined;
    for await (const chunk of walSource(range).read(null, never)) {
      orders.push(...chunk.orders.map(({ event }) => event.orderId));
      if (sent !== undefined) continue;
      await delay(5_000); // more than twice the timeout
      const [row] = await query<{ sent: string }>(
        "SELECT sent_lsn::text AS sent FROM pg_stat_replication WHERE application_name = 'replay-sources-test'",
      );
      sent = parseLsn(row!.sent);
    }
    const heldBack = Number(range.toLsn - sent!) / Number(range.toLsn - range.fromLsn);
    expect(heldBack).toBeGreaterThan(0.2); // the rest lies in buffers of sockets, which may grow to some ten megabytes
    expect(new Set(orders).size).toBe(60_000);
    expect(orders).toHaveLength(60_000);
  });

  it('stops by name at a row of a table that was not the captured one, and skips none', async () => {
    const others = { orders: { oid: 1, columns: [] }, order_items: { oid: 2, columns: [] } };
    await expect(readChunks(walSource(whole, { captured: others }))).rejects.toMatchObject({ code: 'TABLES_CHANGED' });
    expect(await temporarySlots()).toEqual([]);
  });

  it('ends with an error that names it when the window has moved on in the meantime', async () => {
    await query('SELECT pg_replication_slot_advance($1, pg_current_wal_lsn())', [windowSlotName]);
    await expect(readChunks(walSource(whole))).rejects.toMatchObject({ code: 'WAL_RANGE_GONE' });
  });
});

describe('the tables as a source', () => {
  let client: pg.Client;
  let tables: (change?: Partial<TablesOptions>) => ReplaySource;
  const ids = (chunks: readonly SourceChunk[]) => ordersOf(chunks).map(({ event }) => event.orderId);
  const inTables = async () =>
    (await query<{ id: string }>('SELECT order_id AS id FROM orders ORDER BY placed_at, order_id')).map(({ id }) => id);

  beforeAll(async () => {
    client = new pg.Client({ connectionString: stage.environment.env.ORDER_DATABASE_URL });
    await client.connect();
    const { env } = stage.environment;
    tables = (change = {}) =>
      createTablesSource({
        postgres: serverOf(env.ORDER_DATABASE_URL),
        applicationName: 'replay-sources-test',
        slotName: env.SLOT_NAME,
        logger,
        checkpoint,
        filter: { users: [], orderIds: [] },
        awaitApplied: async () => undefined,
        ...change,
      });
  });
  afterAll(() => client?.end());

  /** Far fewer orders than the WAL's tests have left. */
  const keepOrders = async (count: number): Promise<void> => {
    await query("SET session_replication_role = 'replica'; TRUNCATE orders, order_items");
    await stage.load.insertTogether({ first: 200_000, count: count - 1 }); // one placed_at for all
    await insertWholeOrder(client);
  };
  beforeEach(() => keepOrders(2_500));

  it('gives each order once, as the live topic has it but for its unknown position', async () => {
    const chunks = await readChunks(tables());
    expect(ids(chunks)).toEqual(await inTables());
    const live = new Map((await readLive()).map((one) => [one.event.orderId, one]));
    for (const { partition, key, value, event } of ordersOf(chunks)) {
      const one = live.get(event.orderId)!;
      const { commitLsn, ordinal, committedAt } = decodeOrderPlaced(value);
      expect({ partition, key }).toEqual({ partition: one.partition, key: one.event.userId });
      expect({ commitLsn, committedAt }).toEqual({ commitLsn: LSN_ZERO, committedAt: event.placedAt });
      expect(event).toEqual({ ...one.event, commitLsn, ordinal, committedAt });
    }
    expect(ordersOf(chunks).map(({ event }) => event.ordinal)).toEqual(Array.from({ length: 2_500 }, (_, i) => i));
  });

  it('gives each order that the ledger lacks once, however they are spread', async () => {
    const all = await inTables();
    const known = new Set(all.filter((_, index) => index % 7 !== 3 && index < 2_000));
    const asked: string[] = [];
    const selectUnknown = async (orderIds: readonly string[]) => {
      asked.push(...orderIds);
      return new Set(orderIds.filter((id) => !known.has(id)));
    };
    const chunks = await readChunks(tables({ selectUnknown }));
    expect(ids(chunks)).toEqual(all.filter((id) => !known.has(id)));
    expect(asked).toEqual([...all.slice(0, 1_000), ...all]); // the first again, once the sinks have caught up
    const { cursor } = chunks[0]!;
    const rest = all.filter((id) => !known.has(id)).slice(chunks[0]!.orders.length);
    expect(ids(await readChunks(tables({ selectUnknown }), cursor))).toEqual(rest);
  });

  it('leaves to the stream what the sinks have yet to apply of what it sees', async () => {
    const all = await inTables();
    const known = new Set(all.slice(0, 1_200));
    let waits = 0;
    const awaitApplied = async () => {
      waits += 1;
      for (const id of all.slice(0, 2_300)) known.add(id);
      expect(await insertWholeOrder(client)).not.toBe(''); // the snapshot is older than this
    };
    const selectUnknown = async (orderIds: readonly string[]) => new Set(orderIds.filter((id) => !known.has(id)));
    expect(ids(await readChunks(tables({ selectUnknown, awaitApplied })))).toEqual(all.slice(2_300));
    expect(ids(await readChunks(tables({ awaitApplied })))).toHaveLength(2_501);
    expect(waits).toBe(2);
  });

  it('goes on from every cursor with the rest and the ordinals after it', async () => {
    const chunks = await readChunks(tables());
    const all = ordersOf(chunks);
    let given = 0;
    for (const { orders, cursor } of chunks) {
      given += orders.length;
      expect(texts(ordersOf(await readChunks(tables(), cursor)))).toEqual(texts(all.slice(given)));
    }
    for (let index = 100; index < all.length; index += 800) {
      const rest = await readChunks(tables(), formatTablesCursor(all[index]!.event, '1.0'));
      expect(texts(ordersOf(rest))).toEqual(texts(all.slice(index + 1)));
    }
  });

  it('leaves to the stream what committed after it began, and begins again when an operator has repaired the slot', async () => {
    const all = await inTables();
    const before = new pg.Client({ connectionString: stage.environment.env.ORDER_DATABASE_URL });
    await before.connect();
    let late = '';
    const [first] = await inTransaction(before, async () => {
      late = await insertOrderRow(before, { placed_at: '2020-01-01T00:00:00Z' });
      await insertItemRow(before, late);
      return readChunks(tables()); // it has begun before this, and has not committed yet
    });
    await before.end();
    expect(first!.orders.map(({ event }) => event.orderId)).not.toContain(late);
    expect(ids(await readChunks(tables(), first!.cursor))).toEqual(all.slice(first!.orders.length));
    expect((await readLive()).filter(({ event }) => event.orderId === late)).toHaveLength(1);
    const gaps = [{ fromLsn: LSN_ZERO, toLsn: await readFlushLsn() }];
    const again = await readChunks(tables({ checkpoint: { ...checkpoint, gaps } }), first!.cursor);
    expect(ids(again)).toEqual([late, ...all]);
  });

  it('does not begin without the live slot, whose stream has what its snapshot has not', async () => {
    await expect(readChunks(tables({ slotName: 'nowhere' }))).rejects.toMatchObject({ code: 'LIVE_SLOT_GONE' });
    const stranger = tables({ checkpoint: { ...checkpoint, systemIdentifier: '1' } });
    await expect(readChunks(stranger)).rejects.toMatchObject({ code: 'SOURCE_CHANGED' });
  });

  it('stops when it is told to, with the reason', async () => {
    const stop = new AbortController();
    const consume = async () => {
      for await (const _ of tables().read(null, stop.signal)) stop.abort(new Error('Ctrl-C'));
    };
    await expect(consume()).rejects.toThrow('Ctrl-C');
  });
});
