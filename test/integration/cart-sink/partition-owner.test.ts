// Taking partitions over in the carts database: where each continues, who is fenced, and that sinks which take the same
// ones at the same moment never wait for each other in a circle (I6, I8).

import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { readStored, takeOwnership } from '../../../cart-sink/apply/ownership.ts';
import type { TopicPartition } from '../../../cart-sink/sql/consumer-offsets.ts';
import { type CartDatabase, createCartDatabase, TEST_GROUP } from '../../support/postgres/cart-database.ts';
import { waitFor } from '../../support/wait.ts';

let carts: CartDatabase;

beforeAll(async () => {
  carts = await createCartDatabase('partition_owner');
});
afterAll(() => carts.cleanUp());
beforeEach(() => carts.query('TRUNCATE consumer_offsets'));

const take = (partitions: readonly TopicPartition[], group = TEST_GROUP) =>
  takeOwnership(carts.database.pool, group, partitions);
const partitionsOf = (topic: string, numbers: readonly number[]) => numbers.map((partition) => ({ topic, partition }));
const readRows = () =>
  carts.query<{ row: string }>(
    `SELECT concat_ws(' ', consumer_group, topic, partition, next_offset, owner_epoch) AS row FROM consumer_offsets
     ORDER BY consumer_group, topic, partition`,
  );

it('a partition never consumed starts at 0; one taken again goes on where it stood, under a higher epoch', async () => {
  expect(await take(partitionsOf('live', [0, 1]))).toEqual([
    { topic: 'live', partition: 0, ownerEpoch: 1n, nextOffset: 0n, lastCommitLsn: null, topicId: null },
    { topic: 'live', partition: 1, ownerEpoch: 1n, nextOffset: 0n, lastCommitLsn: null, topicId: null },
  ]);
  await carts.query(`UPDATE consumer_offsets SET next_offset = 9007199254740993, last_timeline = 1, last_ordinal = 0,
    last_commit_lsn = '1/16B3748', generation = 1 WHERE partition = 1`);
  const [again] = await take(partitionsOf('live', [1]));
  expect(again).toEqual({
    topic: 'live',
    partition: 1,
    ownerEpoch: 2n,
    nextOffset: 9_007_199_254_740_993n,
    lastCommitLsn: '1/16B3748',
    topicId: null,
  });
  expect(await readStored(carts.database.pool, TEST_GROUP, { topic: 'live', partition: 1 })).toEqual({
    ownerEpoch: 2n,
    nextOffset: 9_007_199_254_740_993n,
  });
  expect(await readStored(carts.database.pool, TEST_GROUP, { topic: 'live', partition: 7 })).toBeUndefined();
});

it('partitions of other numbers, topics and groups stay as they are', async () => {
  await take([...partitionsOf('live', [0, 1]), ...partitionsOf('replay', [0, 1])]);
  await take(partitionsOf('live', [1]), 'another');
  await take([...partitionsOf('live', [1]), ...partitionsOf('replay', [0])]);
  expect((await readRows()).map(({ row }) => row)).toEqual([
    'another live 1 0 1',
    'cart-sink live 0 0 1',
    'cart-sink live 1 0 2',
    'cart-sink replay 0 0 2',
    'cart-sink replay 1 0 1',
  ]);
});

it('a partition whose row does not come back is an error that names it, and none of the others is taken', async () => {
  await take(partitionsOf('live', [0, 1]));
  await carts.query(`CREATE FUNCTION hide() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'`);
  await carts.query(`CREATE TRIGGER hide BEFORE UPDATE ON consumer_offsets FOR EACH ROW
    WHEN (old.partition = 1) EXECUTE FUNCTION hide()`);
  const before = await readRows();
  try {
    await expect(take(partitionsOf('live', [0, 1]))).rejects.toMatchObject({
      code: 'PARTITION_NOT_TAKEN',
      message: expect.stringContaining('for live[1]:'),
    });
    expect(await readRows()).toEqual(before);
  } finally {
    await carts.query('DROP FUNCTION hide CASCADE');
  }
});

it('partitions are locked by topic and number, whatever the order in which they were assigned', async () => {
  const all = [...partitionsOf('a', [1, 0]), ...partitionsOf('B', [2, 0, 1])];
  await take(all);
  // In a small table the plan may happen to go by the index.
  await carts.query(`INSERT INTO consumer_offsets (consumer_group, topic, partition, next_offset, owner_epoch)
    SELECT 'cart-sink', 'other', number, 0, 0 FROM generate_series(1, 20000) AS number`);
  await carts.query('ANALYZE consumer_offsets');
  await carts.query('BEGIN');
  await carts.query("SELECT FROM consumer_offsets WHERE topic = 'B' AND partition = 1 FOR UPDATE");
  const taking = take(all);
  await waitFor('the sink to wait', async () => {
    const waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    return (await carts.query(waiting)).length > 0;
  });
  const free = await carts.query<{ name: string }>(
    `SELECT topic || partition AS name FROM consumer_offsets
     WHERE topic IN ('a', 'B') AND topic || partition <> 'B1' FOR UPDATE SKIP LOCKED`,
  );
  // B0 is locked, B1 is waited for; byte order puts a after B.
  expect(free.map(({ name }) => name).toSorted()).toEqual(['B2', 'a0', 'a1']);
  await carts.query('COMMIT');
  expect(await taking).toHaveLength(5);
});

it('sinks that take the same partitions at the same moment, new ones included, all get them one after the other', async () => {
  const numbers = Array.from({ length: 12 }, (_, index) => index);
  const turned = (by: number) => [...numbers.slice(by), ...numbers.slice(0, by)];
  const takers = numbers.map(async (by) => {
    const taken = await take([...partitionsOf('replay', turned(by)), ...partitionsOf('live', turned(by).toReversed())]);
    return taken.map(({ topic, partition, ownerEpoch }) => `${topic} ${partition} ${ownerEpoch}`);
  });
  const epochs = (await Promise.all(takers)).flat();
  expect(new Set(epochs).size).toBe(numbers.length * 24);
  expect((await readRows()).map(({ row }) => row.split(' ').at(-1))).toEqual(Array(24).fill('12'));
});
