// The window of WAL that a streaming reader keeps for replays, on a Postgres of its own: its bounds under a load that is
// not ours, what happens when its slot is lost or not wanted, and that it stands in nobody's way.
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, inject, it } from 'vitest';
import { createLocalPostgres, type LocalPostgres } from '../../../dev/servers/local-postgres.ts';
import { parseLsn } from '../../../schemas/lsn.ts';
import { recordStream } from '../../support/postgres/source-stream.ts';
import type { Service } from '../../support/process/service-process.ts';
import { createTestDirectory, removeTestDirectory } from '../../support/process/test-directory.ts';
import { withServer } from '../../support/stack/environment.ts';
import { createPipelineStage, type PipelineStage } from '../../support/stack/pipeline-stage.ts';
import { waitFor } from '../../support/wait.ts';

const megabyte = 1024 * 1024;
const oldest = 'tillstream_reader_replay_oldest_lsn{source="wal"}';
const shutdownDeadlineMs = 3_000;

let directory: string;
let postgres: LocalPostgres;
let stage: PipelineStage;

beforeAll(async () => {
  directory = createTestDirectory('replay-window');
  postgres = await createLocalPostgres({ directory, settings: { fsync: 'off' } });
  await postgres.start();
  await postgres.createDatabase('neighbour');
  await sql('CREATE TABLE filler (value text)', [], 'neighbour');
});

afterAll(async () => {
  await postgres?.close();
  removeTestDirectory(directory);
});

afterEach(() => stage?.cleanUp());

async function sql<R extends object>(text: string, values: unknown[] = [], database?: string): Promise<R[]> {
  const url = database === undefined ? stage.environment.env.ORDER_DATABASE_URL : postgres.url(database);
  return withServer(url, async (client) => (await client.query(text, values)).rows as R[]);
}

async function createStage(label: string): Promise<void> {
  const server = postgres.url('postgres');
  const { brokers, directBrokers } = inject('servers');
  stage = await createPipelineStage(label, {
    servers: { orderServerUrl: server, cartServerUrl: server, brokers, directBrokers },
  });
}

interface SlotFacts {
  kept: number;
  pinned: number;
  confirmed: string;
  status: string;
  failover: boolean;
}

/** `kept`: from where the window slot begins to the end of the log; `pinned`: what the live slot would let go of. */
async function readWindow(): Promise<SlotFacts | undefined> {
  const { SLOT_NAME } = stage.environment.env;
  const [slot] = await sql<SlotFacts>(
    `SELECT (pg_current_wal_flush_lsn() - own.restart_lsn)::float8 AS kept,
       (live.restart_lsn - own.restart_lsn)::float8 AS pinned,
       own.confirmed_flush_lsn::text AS confirmed, own.wal_status AS status, own.failover
     FROM pg_replication_slots AS own LEFT JOIN pg_replication_slots AS live ON live.slot_name = $1
     WHERE own.slot_name = $2`,
    [SLOT_NAME, `${SLOT_NAME}_window`],
  );
  return slot;
}

/** Commits that many megabytes of WAL in another database, one a transaction and about 20 a second at most. */
async function writeAsNeighbour(megabytes: number, afterEachOne: () => Promise<void>): Promise<void> {
  await withServer(postgres.url('neighbour'), async (neighbour) => {
    for (let written = 0; written < megabytes; written++) {
      await neighbour.query("SELECT pg_logical_emit_message(true, 'noise', repeat('x', $1))", [megabyte]);
      await afterEachOne();
      await delay(40);
    }
  });
}

const waitForWindow = () => waitFor('the window', async () => (await readWindow())?.confirmed);

async function requireTold(reader: Service): Promise<void> {
  await waitFor('the metric to tell what the slot covers', async () => {
    const confirmed = Number(parseLsn((await readWindow())!.confirmed));
    return (await reader.metrics()).get(oldest) === confirmed;
  });
}

describe('the replay window', () => {
  it('is made at the first start, holds what is published from then on, and is told', async () => {
    await createStage('window_first');
    const reader = await stage.startStreaming();
    await waitForWindow();
    await stage.load.backlog({ first: 0, count: 30 });
    await stage.requireClean();
    expect(await readWindow()).toMatchObject({ status: 'reserved', failover: true });
    await requireTold(reader);
    const metrics = await reader.metrics();
    expect(metrics.get('tillstream_reader_replay_window_bytes')).toBeGreaterThan(0);
    expect(metrics.get('tillstream_reader_replay_oldest_lsn{source="kafka"}')).toBe(0);
    const { SLOT_NAME, PUBLICATION_NAME, ORDER_DATABASE_URL } = stage.environment.env;
    const copy = await recordStream(
      { url: ORDER_DATABASE_URL, slotName: `${SLOT_NAME}_copy`, publicationName: PUBLICATION_NAME },
      { copyOf: `${SLOT_NAME}_window` },
    );
    await copy.waitForCommits(30);
    await copy.stream.close();
  });

  it('pins at most its limit while a neighbour writes many times as much, and is advanced, not lost', async () => {
    await createStage('window_bytes');
    const limit = 64 * megabyte;
    const more = { REPLAY_WINDOW_BYTES: String(limit), IDLE_CHECKPOINT_MS: '200' };
    const reader = await stage.startStreaming({ more });
    const first = await waitForWindow();
    let [most, mostPinned] = [0, 0];
    await writeAsNeighbour(240, async () => {
      const { kept, pinned } = (await readWindow())!;
      [most, mostPinned] = [Math.max(most, kept), Math.max(mostPinned, pinned)];
    });
    expect(mostPinned / megabyte).toBeLessThan(64);
    expect(most / megabyte).toBeLessThan(64);
    expect(most / megabyte, 'it is not let go of before it must').toBeGreaterThan(40);
    expect(parseLsn((await readWindow())!.confirmed)).toBeGreaterThan(parseLsn(first));
    expect([...(await reader.metrics()).keys()].filter((name) => name.includes('window_lost_total'))).toEqual([]);
    // An idle source does not end with the window at its limit: both slots go on, and the bound still holds.
    await delay(1_000);
    expect((await readWindow())!.kept / megabyte).toBeLessThan(64);
    await requireTold(reader);
  });

  it('holds its bound without the right to ask for restart points too, though it keeps less then', async () => {
    await createStage('window_role');
    await sql(
      `DO $$ BEGIN CREATE ROLE replicator LOGIN REPLICATION; EXCEPTION WHEN duplicate_object THEN NULL; END $$`,
    );
    await sql('GRANT SELECT ON ALL TABLES IN SCHEMA public TO replicator');
    const database = new URL(stage.environment.env.ORDER_DATABASE_URL).pathname.slice(1);
    const limit = 8 * megabyte;
    const more = {
      REPLAY_WINDOW_BYTES: String(limit),
      IDLE_CHECKPOINT_MS: '200',
      ORDER_DATABASE_URL: postgres.url(database, 'replicator'),
    };
    const reader = await stage.startStreaming({ more });
    const first = await waitForWindow();
    let overSince: number | undefined;
    let longestOverMs = 0;
    // More than the 15 seconds after which Postgres makes a restart point by itself, and the live slot lets go.
    await writeAsNeighbour(400, async () => {
      const isOver = ((await readWindow())?.pinned ?? 0) > limit;
      overSince = isOver ? (overSince ?? performance.now()) : undefined;
      if (overSince !== undefined) longestOverMs = Math.max(longestOverMs, performance.now() - overSince);
    });
    expect(longestOverMs, 'for a look or two, which come every 100 ms under this load').toBeLessThan(2_000);
    expect(parseLsn((await readWindow())!.confirmed)).toBeGreaterThan(parseLsn(first));
    expect(reader.logs.filter(({ event }) => /restarting|window-failed/.test(event ?? ''))).toEqual([]);
  });

  it('keeps about its time, in the marks of the checkpoint, which a restart keeps too', async () => {
    await createStage('window_time');
    const more = { REPLAY_WINDOW_MS: '4000', IDLE_CHECKPOINT_MS: '100' };
    const first = await stage.startStreaming({ more });
    const start = parseLsn(await waitForWindow());
    const startedAt = performance.now();
    const paced = stage.load.pace({ first: 0, count: 240, ordersPerSecond: 20 });
    const ages: number[] = [];
    await waitFor('the time bound', async () => {
      ages.push((await first.metrics()).get('tillstream_reader_replay_window_seconds') ?? 0);
      return parseLsn((await readWindow())!.confirmed) > start;
    });
    expect((performance.now() - startedAt) / 1_000, 'kept for its time').toBeGreaterThan(3);
    await first.stop();
    const second = await stage.startStreaming({ more });
    await requireTold(second);
    // Without its marks this start could not know of anything that is older than itself.
    const age = (await second.metrics()).get('tillstream_reader_replay_window_seconds')!;
    expect(age).toBeGreaterThan(2);
    await paced;
    await waitFor('the bound to hold', async () => {
      ages.push((await second.metrics()).get('tillstream_reader_replay_window_seconds')!);
      return ages.length > 200;
    });
    // A sixteenth between marks, an idle checkpoint, half a second between looks, and a busy machine.
    expect(Math.max(...ages)).toBeLessThan(4 + 0.25 + 0.1 + 0.5 + 2);
    await stage.requireClean();
  });

  it('is made anew, and publishing goes on, when its slot was dropped or invalidated', async () => {
    await createStage('window_lost');
    const reader = await stage.startStreaming();
    const first = await waitForWindow();
    const { SLOT_NAME } = stage.environment.env;
    const lost = async (reason: string) =>
      (await reader.metrics()).get(`tillstream_reader_replay_window_lost_total{reason="${reason}"}`);
    await stage.load.backlog({ first: 0, count: 10 });
    // The keeper may be looking at it right now.
    await waitFor('the slot to be dropped', () => sql('SELECT pg_drop_replication_slot($1)', [`${SLOT_NAME}_window`]));
    const second = await waitForWindow();
    expect(parseLsn(second)).toBeGreaterThan(parseLsn(first));
    await waitFor('the count', async () => (await lost('missing')) === 1);

    for (let n = 0; n < 8; n++) {
      await sql(`SELECT pg_logical_emit_message(false, 'noise', repeat('x', ${8 * megabyte}))`);
    }
    await sql('SELECT pg_switch_wal()');
    await waitFor('the live slot to have moved on', async () => {
      await sql('SELECT pg_log_standby_snapshot()');
      await stage.load.backlog({ first: 10 + (await published(reader)), count: 1 });
      return (await readWindow())!.pinned > 60 * megabyte;
    });
    await sql("ALTER SYSTEM SET max_slot_wal_keep_size = '32MB'");
    await sql('SELECT pg_reload_conf()');
    await sql('CHECKPOINT');
    await waitFor('the loss', async () => (await lost('wal_removed')) === 1, { deadlineMs: 15_000 });
    await sql('ALTER SYSTEM RESET max_slot_wal_keep_size');
    await sql('SELECT pg_reload_conf()');
    expect(await readWindow()).toMatchObject({ status: 'reserved' });
    expect(parseLsn((await readWindow())!.confirmed)).toBeGreaterThan(parseLsn(second));
    await stage.load.backlog({ first: 90_000, count: 10 });
    await stage.requireClean();
    expect(reader.logs.filter(({ event }) => event === 'reader.restarting')).toEqual([]);
  });

  it('is made again, with a warning that names the setting, when idle_replication_slot_timeout has ended its slot', async () => {
    await createStage('window_idle');
    const reader = await stage.startStreaming();
    await waitForWindow();
    await stage.load.backlog({ first: 0, count: 10 });
    const lost = 'tillstream_reader_replay_window_lost_total{reason="idle_timeout"}';
    try {
      await sql("ALTER SYSTEM SET idle_replication_slot_timeout = '1s'");
      await sql('SELECT pg_reload_conf()');
      await waitFor(
        'the loss',
        async () => {
          await sql('CHECKPOINT');
          return ((await reader.metrics()).get(lost) ?? 0) > 0;
        },
        { deadlineMs: 20_000 },
      );
    } finally {
      await sql('ALTER SYSTEM RESET idle_replication_slot_timeout');
      await sql('SELECT pg_reload_conf()');
    }
    const warning = reader.logs.find(
      ({ event, reason }) => event === 'reader.replay-window' && reason === 'idle_timeout',
    );
    expect(warning).toMatchObject({
      msg: expect.stringContaining('ALTER SYSTEM SET idle_replication_slot_timeout = 0'),
    });
    await stage.load.backlog({ first: 10, count: 10 });
    await stage.requireClean();
  });

  it('belongs to the reader that holds the live slot: a standby changes nothing, and drops it only once it streams', async () => {
    await createStage('window_two');
    const first = await stage.startStreaming();
    await waitForWindow();
    const standby = await stage.startReader({ more: { REPLAY_WINDOW_BYTES: '0' } });
    await standby.waitForLog('reader.standby', { deadlineMs: 30_000 });
    await stage.load.pace({ first: 0, count: 60, ordersPerSecond: 20 });
    expect(await readWindow()).toBeDefined();
    expect((await standby.metrics()).get(oldest)).toBeUndefined();
    await first.stop();
    await standby.waitForLog('reader.streaming', { deadlineMs: 30_000 });
    await waitFor('the window to be dropped', async () => (await readWindow()) === undefined);
    await stage.requireClean();
  });

  it('that can not be made yet holds nobody up: orders are published, and Postgres shuts down fast', async () => {
    await createStage('window_wait');
    const off = await stage.startStreaming({ more: { REPLAY_WINDOW_BYTES: '0' } });
    await off.stop();
    await withServer(postgres.url('neighbour'), async (neighbour) => {
      neighbour.on('error', () => undefined);
      await neighbour.query('BEGIN');
      await neighbour.query("INSERT INTO filler VALUES ('for long')");
      const reader = await stage.startStreaming();
      await waitFor('the slot to wait for the transaction', async () => (await readWindow())?.confirmed === null);
      await stage.load.backlog({ first: 0, count: 20 });
      await stage.requireClean();
      await postgres.stop('fast', { deadlineMs: shutdownDeadlineMs });
      await postgres.start();
      await reader.waitForLog('reader.streaming', { from: reader.logs.length, deadlineMs: 30_000 });
    });
    await waitForWindow();
    await stage.load.backlog({ first: 20, count: 20 });
    await stage.requireClean();
  });

  it('does not hold up a fast shutdown, or a stop of the reader, while it is kept', async () => {
    await createStage('window_stop');
    const reader = await stage.startStreaming({ more: { REPLAY_WINDOW_BYTES: String(16 * megabyte) } });
    await waitForWindow();
    await stage.load.backlog({ first: 0, count: 2_000 });
    await postgres.stop('fast', { deadlineMs: shutdownDeadlineMs });
    await postgres.start();
    await stage.requireClean();
    await reader.waitForLog('reader.streaming', { from: 0 });
    const { code } = await reader.stop({ deadlineMs: 8_000 });
    expect(code).toBe(0);
  });
});

async function published(reader: Service): Promise<number> {
  return (await reader.metrics()).get('tillstream_reader_orders_published_total') ?? 0;
}
