// What can become of the slot beside being dropped or moved (fault/reader/halts.test.ts): invalidated because it kept too much
// log, held or used up by another client, impossible because wal_level was lowered; and that an idle database's slot
// keeps no log for a busy neighbour (I7, I11; faults D).
import { afterEach, describe, expect, it } from 'vitest';
import { recordStream } from '../../support/postgres/source-stream.ts';
import { withServer } from '../../support/stack/environment.ts';
import { createPipelineStage, type PipelineStage } from '../../support/stack/pipeline-stage.ts';
import { createReplaceableSource, type ReplaceableSource } from '../../support/stack/replaceable-source.ts';
import { readPublished, requireHalted, requireNothingMore } from '../../support/stack/require-halted.ts';
import { waitFor } from '../../support/wait.ts';

const megabyte = 1024 * 1024;

describe('a slot on a server of its own', () => {
  let source: ReplaceableSource;
  afterEach(() => source.cleanUp());

  const writeWal = async (megabytes: number): Promise<void> => {
    for (let written = 0; written < megabytes; written += 8) {
      await source.sql(`SELECT pg_logical_emit_message(false, 'noise', repeat('x', ${8 * megabyte}))`);
    }
    await source.sql('SELECT pg_switch_wal()');
    await source.sql('CHECKPOINT');
  };
  const walStatus = async () => {
    const { SLOT_NAME } = source.stage.environment.env;
    const [slot] = await source.sql<{ wal_status: string }>(
      `SELECT wal_status FROM pg_replication_slots WHERE slot_name = '${SLOT_NAME}'`,
    );
    return slot!.wal_status;
  };

  it.each(['down', 'stopped like a zombie'])(
    'halts the reader when max_slot_wal_keep_size has invalidated it, the reader %s',
    async (how) => {
      source = await createReplaceableSource('slot_size', {
        settings: { max_slot_wal_keep_size: '32MB', min_wal_size: '32MB', max_wal_size: '64MB' },
      });
      const first = await source.stage.startStreaming();
      await source.stage.load.backlog({ first: 0, count: 40 });
      await source.stage.requireClean(60_000);
      const before = await readPublished(source.stage);
      if (how === 'down') await first.stop();
      else first.pause();
      await source.stage.load.backlog({ first: 40, count: 40 });
      await writeWal(96);
      await waitFor('the slot to be lost', async () => (await walStatus()) === 'lost');
      if (how !== 'down') first.resume();
      const reader = how === 'down' ? await source.stage.startReader() : first;
      await requireHalted(reader, 'SLOT_LOST');
      await requireNothingMore(source.stage, before);
      // The halted reader has no session, and reports its slot all the same.
      const lost = 'tillstream_reader_slot_wal_status{slot="live",wal_status="lost"}';
      const isReported = async () => (await reader.metrics()).get(lost) === 1;
      await waitFor('the health of the lost slot', isReported, { deadlineMs: 40_000 });
    },
  );

  it('makes Postgres refuse a lower wal_level; without it the reader waits and says so, and then halts', async () => {
    source = await createReplaceableSource('slot_wal_level');
    const first = await source.stage.startStreaming();
    await source.stage.load.backlog({ first: 0, count: 40 });
    await source.stage.requireClean(60_000);
    const server = source.server();
    await server.stop('fast');
    await expect(server.start({ settings: { wal_level: 'replica' } })).rejects.toThrow('wal_level');
    await server.start();
    // Nothing has happened to the slot, so nothing has to be repaired.
    await source.stage.load.backlog({ first: 40, count: 10 });
    await source.stage.requireClean(60_000);
    await first.stop();

    await source.sql('SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots');
    await server.restart('fast', { settings: { wal_level: 'replica' } });
    const before = await readPublished(source.stage);
    const reader = await source.stage.startReader();
    const waiting = await reader.waitForLog('reader.waiting', { deadlineMs: 30_000 });
    expect((waiting.problems as { code: string }[]).map(({ code }) => code)).toEqual(['WAL_LEVEL']);
    expect((await reader.ready()).status).toBe(503);
    await source.stage.load.backlog({ first: 50, count: 10 });
    await server.restart('fast');
    await requireHalted(reader, 'SLOT_DROPPED');
    await requireNothingMore(source.stage, before);
  });
});

describe('a slot', () => {
  let stage: PipelineStage;
  afterEach(() => stage.cleanUp());

  const takeSlot = () => {
    const { ORDER_DATABASE_URL: url, SLOT_NAME: slotName, PUBLICATION_NAME: publicationName } = stage.environment.env;
    return waitFor(
      'a stranger to take the slot',
      () => recordStream({ url, slotName, publicationName }, { walSenderTimeoutMs: 60_000 }),
      { deadlineMs: 30_000, everyMs: 50 },
    );
  };

  it('that another client holds is waited for, and loses nothing when that one acknowledged nothing', async () => {
    stage = await createPipelineStage('slot_held');
    const reader = await stage.startStreaming();
    await stage.load.backlog({ first: 0, count: 40 });
    await stage.requireClean();
    reader.pause();
    const stranger = await takeSlot();
    reader.resume();
    await reader.waitForLog('reader.standby', { deadlineMs: 30_000 });
    await stage.load.backlog({ first: 40, count: 40 });
    await stranger.waitForCommits(40);
    await stranger.stream.close();
    const sinceMs = performance.now();
    await stage.requireClean(60_000);
    console.info(`slot given back: drained within ${Math.round(performance.now() - sinceMs)} ms`);
  });

  it('that another client has taken and used up halts the reader', async () => {
    stage = await createPipelineStage('slot_used_up');
    const reader = await stage.startStreaming();
    await stage.load.backlog({ first: 0, count: 40 });
    await stage.requireClean();
    const before = await readPublished(stage);
    reader.pause();
    const stranger = await takeSlot();
    await stage.load.backlog({ first: 40, count: 10 });
    const commits = await stranger.waitForCommits(10);
    stranger.stream.acknowledge(commits.at(-1)!.endLsn);
    await stranger.stream.close();
    reader.resume();
    await requireHalted(reader, 'SLOT_AHEAD');
    await requireNothingMore(stage, before);
  });

  it('of an idle database keeps no log for a busy neighbour, and loses no order that comes right then', async () => {
    stage = await createPipelineStage('slot_idle');
    const { ORDER_DATABASE_URL, CART_DATABASE_URL, SLOT_NAME } = stage.environment.env;
    await stage.startStreaming();
    await stage.load.place(0);
    await stage.oracle.waitUntilDrained(30_000);
    const retainedBytes = () =>
      withServer(ORDER_DATABASE_URL, async (client) => {
        const { rows } = await client.query<{ bytes: string }>(
          `SELECT pg_current_wal_lsn() - restart_lsn AS bytes FROM pg_replication_slots WHERE slot_name = '${SLOT_NAME}'`,
        );
        return Number(rows[0]!.bytes);
      });
    let written = 0;
    let mostRetained = 0;
    await withServer(CART_DATABASE_URL, async (neighbour) => {
      await neighbour.query('CREATE TABLE noise (filler text)');
      for (let round = 1; written < 240 * megabyte; round++) {
        const [start] = (await neighbour.query<{ at: string }>('SELECT pg_current_wal_lsn() AS at')).rows;
        await neighbour.query(`INSERT INTO noise SELECT repeat(md5(n::text), 30) FROM generate_series(1, 20000) AS n`);
        const [end] = (
          await neighbour.query<{ n: string }>('SELECT pg_current_wal_lsn() - $1::pg_lsn AS n', [start!.at])
        ).rows;
        written += Number(end!.n);
        mostRetained = Math.max(mostRetained, await retainedBytes());
        // The slot can only follow the running-transactions records that a checkpoint, or each 15 s, writes.
        await neighbour.query('CHECKPOINT');
        if (round % 4 === 0) await stage.load.place(round);
        await waitFor('the slot to let go of the log', async () => (await retainedBytes()) < 16 * megabyte, {
          deadlineMs: 30_000,
        });
      }
    });
    console.info(`busy neighbour: ${written} bytes written, at most ${mostRetained} retained`);
    expect(mostRetained).toBeLessThan(64 * megabyte);
    await stage.requireClean(60_000);
  });
});
