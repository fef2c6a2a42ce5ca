// The orders server is not the one that was published from, or not as it was: restored from a backup, copied by files,
// promoted at an exact position, another cluster, a staging clone. Where events could exist of orders that it never had,
// the reader halts, publishes nothing more, and has fenced nobody; where nothing was lost, it goes on (I11; faults D).
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { formatLsn, toLsn } from '#schemas/lsn.ts';
import {
  connectTo,
  insertItemRow,
  insertOrderRow,
  insertWholeOrder,
  inTransaction,
  migrateTestOrders,
} from '../../support/postgres/order-database.ts';
import { createReplaceableSource, type ReplaceableSource } from '../../support/stack/replaceable-source.ts';
import { readPublished, requireHalted, requireNothingMore } from '../../support/stack/require-halted.ts';

describe('a source that is replaced', () => {
  let source: ReplaceableSource;
  beforeEach(async () => {
    // A vacuum of catalogue rows would be a second reason for a copied slot to be lost.
    source = await createReplaceableSource('restores', { settings: { autovacuum: 'off' } });
  });
  afterEach(() => source.cleanUp());

  const publish = async (first: number, count = 10): Promise<void> => {
    const reader = await source.stage.startStreaming();
    for (let number = first; number < first + count; number++) await source.stage.load.place(number);
    await source.stage.requireClean(60_000);
    expect((await reader.stop()).code).toBe(0);
  };
  const lsn = (commitLsn: bigint) => formatLsn(toLsn(commitLsn));
  /** Writes WAL until the server is past `commitLsn`, with nothing in it that the reader would publish. */
  const writeUpTo = async (commitLsn: bigint): Promise<void> => {
    for (;;) {
      const [row] = await source.sql<{ past: boolean }>(
        `SELECT pg_logical_emit_message(false, 'noise', repeat('x', 1000000)) IS NOT NULL
           AND pg_current_wal_flush_lsn() > '${lsn(commitLsn)}'::pg_lsn + 2000000 AS past`,
      );
      if (row!.past) return;
    }
  };

  /** Orders behind the gap, the last at positions that nothing was published from: whoever goes on publishes them. */
  const placeBehind = async (before: Awaited<ReturnType<typeof readPublished>>): Promise<void> => {
    await source.stage.load.place(100);
    await writeUpTo(before.at(-1)!.commitLsn);
    await source.stage.load.backlog({ first: 101, count: 5 });
  };

  it('halts on a backup that was restored onto a timeline of its own', async () => {
    await publish(0);
    await source.backUp('backup');
    await publish(10);
    const before = await readPublished(source.stage);
    await source.promoteCopy('backup');
    await placeBehind(before);
    await requireHalted(await source.stage.startReader(), 'TIMELINE_FORKED');
    await requireNothingMore(source.stage, before);
  });

  it('goes on where a backup was restored after which nothing was published', async () => {
    await publish(0);
    await source.backUp('backup');
    await source.promoteCopy('backup');
    const reader = await source.stage.startStreaming();
    expect(reader.logs.find(({ event }) => event === 'reader.streaming')!.timeline).toBe(2);
    await source.stage.load.pace({ first: 10, count: 10, ordersPerSecond: 50 });
    await source.stage.requireClean(60_000);
  });

  it('halts on a copy of the files from before, which ends before what was published', async () => {
    await publish(0);
    await source.backUp('copy');
    await publish(10, 30);
    const before = await readPublished(source.stage);
    await source.replaceWithCopy('copy');
    await source.stage.load.place(50);
    await requireHalted(await source.stage.startReader(), 'SERVER_BEHIND');
    // A halt is for good: not even orders at positions that it would have to publish are looked at.
    await placeBehind(before);
    await requireNothingMore(source.stage, before);
  });

  it('halts on such a copy although other transactions have used its positions again since', async () => {
    await publish(0);
    await source.backUp('copy');
    await publish(10);
    const before = await readPublished(source.stage);
    await source.replaceWithCopy('copy');
    await source.stage.load.backlog({ first: 20, count: 10 });
    await placeBehind(before);
    await requireHalted(await source.stage.startReader(), 'CONTENTS_DIFFER');
    await requireNothingMore(source.stage, before);
  });

  it('halts on such a copy although a client has placed the last published order in it again', async () => {
    await publish(0);
    await source.backUp('copy');
    await publish(10);
    const before = await readPublished(source.stage);
    await source.replaceWithCopy('copy');
    const client = await connectTo(source.stage.environment.env.ORDER_DATABASE_URL);
    try {
      await inTransaction(client, async () => {
        await insertOrderRow(client, { order_id: before.at(-1)!.orderId });
        await insertItemRow(client, before.at(-1)!.orderId);
      });
    } finally {
      await client.end();
    }
    await placeBehind(before);
    await requireHalted(await source.stage.startReader(), 'CONTENTS_DIFFER');
    await requireNothingMore(source.stage, before);
  });

  it('halts while it runs when the copy takes the place of its server', async () => {
    await publish(0);
    await source.backUp('copy');
    const reader = await source.stage.startStreaming();
    await source.stage.load.pace({ first: 10, count: 30, ordersPerSecond: 50 });
    await source.stage.requireClean(60_000);
    const before = await readPublished(source.stage);
    reader.pause(); // so that there is an order in the copy before it looks
    await source.replaceWithCopy('copy');
    await source.stage.load.place(50);
    reader.resume();
    await requireHalted(reader, 'SERVER_BEHIND');
    await placeBehind(before);
    await requireNothingMore(source.stage, before);
  });

  it.each<{ where: string; target: (commits: readonly bigint[]) => { lsn: string; inclusive: boolean } }>([
    { where: 'right behind the last but one', target: (commits) => ({ lsn: lsn(commits.at(-2)!), inclusive: true }) },
    { where: 'exactly at its commit record', target: (commits) => ({ lsn: lsn(commits.at(-1)!), inclusive: false }) },
  ])('halts when a standby was promoted just before the last published commit: $where', async ({ target }) => {
    await publish(0);
    await source.backUp('standby');
    await publish(10);
    const before = await readPublished(source.stage);
    await source.promoteCopy('standby', target(before.map(({ commitLsn }) => commitLsn)));
    // What tells this from a restored backup: the new primary does have nearly everything.
    const [{ n }] = (await source.sql<{ n: number }>('SELECT count(*)::int AS n FROM orders')) as [{ n: number }];
    expect(n).toBe(19);
    await source.stage.load.place(50);
    await requireHalted(await source.stage.startReader(), 'TIMELINE_FORKED');
    await requireNothingMore(source.stage, before);
  });

  it('goes on by itself when a standby was promoted right after the last published commit', async () => {
    await publish(0);
    await source.backUp('standby');
    await publish(10, 9);
    const reader = await source.stage.startStreaming();
    await source.stage.load.place(19);
    await source.stage.requireClean(60_000);
    const before = await readPublished(source.stage);
    await source.promoteCopy('standby', { lsn: lsn(before.at(-1)!.commitLsn), inclusive: true });
    const sinceMs = performance.now();
    await source.stage.load.pace({ first: 20, count: 20, ordersPerSecond: 50 });
    await source.stage.requireClean(60_000);
    console.info(`promoted standby: streaming again within ${Math.round(performance.now() - sinceMs)} ms`);
    const starts = reader.logs.filter(({ event }) => event === 'reader.streaming');
    expect(starts.map(({ timeline }) => timeline)).toEqual([1, 2]);
    // Commits of the old timeline keep its number, whenever they are decoded.
    const timelines = (await readPublished(source.stage)).map(({ timeline }) => timeline);
    expect(timelines).toEqual([...Array(20).fill(1), ...Array(20).fill(2)]);
  });

  it('halts when another cluster answers at its address, whatever that one has written', async () => {
    await publish(0);
    const before = await readPublished(source.stage);
    await source.replaceWithNewCluster('other');
    const { env } = source.stage.environment;
    await migrateTestOrders(env.ORDER_DATABASE_URL, env.PUBLICATION_NAME);
    await source.sql(`SELECT pg_create_logical_replication_slot('${env.SLOT_NAME}', 'pgoutput')`);
    const client = await connectTo(env.ORDER_DATABASE_URL);
    try {
      await insertWholeOrder(client);
      await writeUpTo(before.at(-1)!.commitLsn);
      await insertWholeOrder(client);
    } finally {
      await client.end();
    }
    await requireHalted(await source.stage.startReader(), 'SOURCE_CHANGED');
    await requireNothingMore(source.stage, before);
  });

  it('fences nobody as a staging clone that still has the names and the Kafka of production', async () => {
    await publish(0);
    await source.backUp('clone');
    const production = await source.stage.startStreaming();
    const running = production.logs.length;
    await source.stage.load.pace({ first: 10, count: 10, ordersPerSecond: 50 });
    await source.stage.requireClean(60_000);
    const clone = await source.startBeside('clone');
    const { ORDER_DATABASE_URL } = source.stage.environment.env;
    const cloneUrl = clone.url(new URL(ORDER_DATABASE_URL).pathname.slice(1));
    // One that knows less than production, then one that has orders of its own and is ahead.
    const first = await source.stage.startReader({ more: { ORDER_DATABASE_URL: cloneUrl } });
    const load = source.stage.load.pace({ first: 20, count: 60, ordersPerSecond: 20 });
    await requireHalted(first, 'SERVER_BEHIND');
    await first.stop();
    const client = await connectTo(cloneUrl);
    try {
      await client.query('CALL order_load.backlog(20, 1000)');
      await client.query(`SELECT pg_logical_emit_message(false, 'noise', repeat('x', 20000000))`);
      await client.query('CALL order_load.backlog(20, 1020)');
      await client.query('CHECKPOINT');
    } finally {
      await client.end();
    }
    const second = await source.stage.startReader({ more: { ORDER_DATABASE_URL: cloneUrl } });
    await requireHalted(second, 'CONTENTS_DIFFER');
    await load;
    // Whoever was fenced learns of it when it publishes.
    await source.stage.load.place(90);
    await source.stage.requireClean(60_000);
    expect(production.logs.slice(running).filter(({ event }) => event === 'reader.restarting')).toEqual([]);
  });
});
