// The sink as a real process between real Kafka and Postgres; a transactional producer stands in for the reader.

import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, expect, test } from 'vitest';
import { orderPartition } from '#schemas/partition.ts';
import { formatReplayHeaders } from '#schemas/replay/records.ts';
import { serverOf } from '#service/postgres/database-server.ts';
import { migrateCarts } from '../../../cart-sink/migrate-carts.ts';
import { encodeOrderPlaced } from '../../support/examples/encode-order-placed.ts';
import { createEvent, createStamp } from '../../support/examples/sink-events.ts';
import { withKafkaAdmin } from '../../support/kafka/admin.ts';
import { silent } from '../../support/postgres/cart-database.ts';
import type { Service } from '../../support/process/service-process.ts';
import { createSinkStage, partitionCount, type SinkStage, sumOf } from '../../support/stack/sink-stage.ts';
import { waitFor } from '../../support/wait.ts';

const users = Array.from({ length: 20 }, (_, index) => `user-${index}`);
let stage: SinkStage;

afterEach(() => stage.cleanUp());

async function createStage(label: string): Promise<void> {
  stage = await createSinkStage(label);
  await stage.createTopics();
}

/** Topics, a running sink and full carts. */
async function startSink(label: string): Promise<Service> {
  await createStage(label);
  const sink = await stage.startSink();
  await stage.fillCarts(users);
  return sink;
}

/** The same, after one order of each user was published and applied. */
async function startDrainedSink(label: string): Promise<Service> {
  const sink = await startSink(label);
  await stage.publish(users);
  await stage.waitDrained();
  return sink;
}

async function requireAppliedOnce(): Promise<void> {
  await stage.waitDrained();
  await stage.requireAppliedOnce();
}

async function publishAndRequireAppliedOnce(): Promise<void> {
  await stage.publish(users);
  await requireAppliedOnce();
}

async function readNextOffset(topic: string, partition: number): Promise<bigint> {
  return (await stage.storedOffsets()).find((one) => one.topic === topic && one.partition === partition)!.nextOffset;
}

/** Waits until one partition has halted: the sink is ready, since it serves carts, and says that its pipeline is not well. */
async function waitHalted(sink: Service, code: string): Promise<Record<string, unknown>> {
  await sink.waitForLog('pipeline.halted', { deadlineMs: 40_000 });
  const { status, body } = await sink.ready();
  expect({ status, pipeline: body.pipeline }).toMatchObject({ status: 200, pipeline: 'consuming' });
  expect(body.haltedPartitions).toMatchObject([{ code }]);
  const pipeline = await fetch(`${sink.url}/health/pipeline`);
  expect(pipeline.status).toBe(503);
  expect(await pipeline.json()).toMatchObject({ state: 'halted', haltedPartitions: [{ code }] });
  const series = [...(await sink.metrics())].filter(([key]) => key.startsWith('tillstream_halted{'));
  expect(series).toEqual([[expect.stringContaining(`code="${code}"`), 1]]);
  const cart = await fetch(`${sink.url}/carts/user-0`);
  expect(cart.status).toBe(200);
  const [halted] = body.haltedPartitions as Record<string, unknown>[];
  const [stored] = await stage.query('SELECT halted_code FROM consumer_offsets WHERE topic = $1 AND partition = $2', [
    halted!.topic,
    halted!.partition,
  ]);
  expect(stored).toEqual({ halted_code: code });
  return halted!;
}

async function deleteRecords(partition: number, offset: string): Promise<void> {
  await withKafkaAdmin(stage.environment.servers.directBrokers, async (admin) => {
    // kafkajs deletes records only of topics that it has seen.
    await admin.fetchTopicOffsets(stage.topic);
    await admin.deleteTopicRecords({ topic: stage.topic, partitions: [{ partition, offset }] });
  });
}

test('applies each published order once, and goes on where it stood after a restart', async () => {
  const first = await startSink('sink_restart');
  for (let round = 0; round < 5; round += 1) await stage.publish(users);
  await requireAppliedOnce();
  expect((await first.stop()).code).toBe(0);
  await stage.publish(users);
  const second = await stage.startSink();
  await publishAndRequireAppliedOnce();
  expect(await sumOf(second, 'tillstream_sink_orders_applied_total')).toBe(40);
  expect(await sumOf(second, 'tillstream_sink_duplicates_total')).toBe(0);
  expect((await second.stop()).code).toBe(0);
});

test('tells lag, assignments and latency, and shows 0 when it has caught up', async () => {
  const sink = await startDrainedSink('sink_lag');
  await waitFor('a lag of 0 on all partitions of both topics', async () => {
    const { body } = await sink.ready();
    const partitions = body.partitions as { lagRecords?: number }[];
    return partitions.length === 12 && partitions.every(({ lagRecords }) => lagRecords === 0);
  });
  expect(await sumOf(sink, 'tillstream_sink_commit_to_commit_seconds_count')).toBe(20);
  expect(await sumOf(sink, 'tillstream_sink_assigned_partitions')).toBe(12);
  await waitFor('the group’s offsets for lag tools to be at the end', async () => {
    const { CONSUMER_GROUP } = stage.environment.env;
    const [offsets, ends] = await withKafkaAdmin(stage.environment.servers.directBrokers, async (admin) => [
      (await admin.fetchOffsets({ groupId: CONSUMER_GROUP, topics: [stage.topic] }))[0]!.partitions,
      await admin.fetchTopicOffsets(stage.topic),
    ]);
    return ends!.every((end) => offsets!.find(({ partition }) => partition === end.partition)?.offset === end.offset);
  });
});

test('never reads the offsets that Kafka keeps for the group', async () => {
  const first = await startDrainedSink('sink_group_offsets');
  await first.stop();
  const { CONSUMER_GROUP } = stage.environment.env;
  await withKafkaAdmin(stage.environment.servers.directBrokers, (admin) =>
    admin.setOffsets({
      groupId: CONSUMER_GROUP,
      topic: stage.topic,
      partitions: [0, 1, 2, 3, 4, 5].map((partition) => ({ partition, offset: partition % 2 === 0 ? '0' : '1000' })),
    }),
  );
  const second = await stage.startSink();
  await publishAndRequireAppliedOnce();
  expect(await sumOf(second, 'tillstream_sink_duplicates_total')).toBe(0);
});

test('waits for its topics and says so, then consumes the replay topic as soon as it exists', async () => {
  stage = await createSinkStage('sink_waits');
  const sink = await stage.startSink();
  await sink.waitForLog('sink.waiting-for-topics');
  const { body } = await sink.ready();
  expect(body).toMatchObject({ pipeline: 'waiting-for-topics', waitingFor: [stage.topic, stage.replayTopic] });
  await stage.fillCarts(users);
  await stage.createTopics({ replay: false });
  await publishAndRequireAppliedOnce();
  expect((await stage.storedOffsets()).every(({ topic }) => topic === stage.topic)).toBe(true);

  await stage.createReplayTopic();
  const owned = async () => (await stage.storedOffsets()).some(({ topic }) => topic === stage.replayTopic);
  await waitFor('the replay topic to be owned', owned, { deadlineMs: 20_000 });
  // A replay repeats orders at positions that are long past: they are taken all the same, and change nothing twice.
  const event = createEvent({ userId: 'user-1' });
  const stamp = createStamp();
  await stage.storeReplayRun(stamp);
  const headers = formatReplayHeaders(stamp, 'order');
  const record = { partition: 0, key: Buffer.from('user-1'), value: encodeOrderPlaced(event), headers };
  await stage.publishRaw([record], { topic: stage.replayTopic });
  await stage.publishRaw([record], { topic: stage.replayTopic });
  await waitFor('both replayed records', async () => (await readNextOffset(stage.replayTopic, 0)) === 4n);
  expect(await stage.query('SELECT 1 FROM applied_orders WHERE order_id = $1', [event.orderId])).toHaveLength(1);
});

test('with MIGRATE=off leaves the database alone, says what is missing, and begins when someone has migrated it', async () => {
  await createStage('sink_migrate_off');
  const { CART_DATABASE_URL: databaseUrl } = stage.environment.env;
  const sink = await stage.environment.startService('cart-sink', { SESSION_TIMEOUT_MS: '6000', MIGRATE: 'off' });
  await sink.waitForLog('service.listening');
  expect(await sink.ready()).toMatchObject({
    status: 503,
    body: { database: 'reachable', migrations: 'missing', remedy: expect.stringContaining('npm run migrate') },
  });
  expect((await fetch(`${sink.url}/carts/user-0`)).status).toBe(503);
  expect(await stage.query("SELECT FROM pg_class WHERE relnamespace = 'public'::regnamespace")).toEqual([]);
  await migrateCarts({ postgres: serverOf(databaseUrl), logger: silent });
  await sink.waitReady();
  await stage.fillCarts(users);
  await publishAndRequireAppliedOnce();
});

test('parks what can never be read, with its bytes, and goes on', async () => {
  const sink = await startSink('sink_parks');
  await stage.publish(users);
  const stranger = encodeOrderPlaced(createEvent({ userId: 'user-1' }));
  await stage.publishRaw([
    { partition: 2, key: Buffer.from('user-1'), value: Buffer.from('garbage') },
    { partition: 2, key: Buffer.from('user-2'), value: stranger },
    { partition: 2, key: null, value: null },
  ]);
  await publishAndRequireAppliedOnce();
  const parked = await stage.query<{ partition: number; offset: string; value: Buffer | null; reason: string }>(
    'SELECT partition, "offset", value, reason FROM parked_events ORDER BY "offset"',
  );
  expect(parked).toHaveLength(3);
  expect(parked.map(({ value }) => value)).toEqual([Buffer.from('garbage'), stranger, null]);
  expect(parked.every(({ partition, reason }) => partition === 2 && reason.length > 0)).toBe(true);
  expect(await sumOf(sink, 'tillstream_sink_parked_total')).toBe(3);
});

test('halts one partition at a record of an unknown schema: nothing after it is applied, the others go on', async () => {
  const sink = await startDrainedSink('sink_schema');
  const stored = await readNextOffset(stage.topic, 3);
  const unknown = encodeOrderPlaced(createEvent({ userId: 'user-1' }));
  unknown[3] = unknown[3]! ^ 0xff;
  const readable = encodeOrderPlaced(createEvent({ userId: 'user-1' }));
  await stage.publishRaw([
    { partition: 3, key: Buffer.from('user-1'), value: unknown },
    { partition: 3, key: Buffer.from('user-1'), value: readable },
  ]);
  const halted = await waitHalted(sink, 'UNKNOWN_SCHEMA');
  expect(halted.details).toMatchObject({ topic: stage.topic, partition: '3', offset: String(stored) });
  const elsewhere = users.filter((user) => orderPartition(user, partitionCount) !== 3);
  const before = await stage.query('SELECT 1 FROM applied_orders');
  await stage.publish(elsewhere);
  await waitFor('the other partitions to go on', async () => {
    return (await stage.query('SELECT 1 FROM applied_orders')).length === before.length + elsewhere.length;
  });
  expect(await readNextOffset(stage.topic, 3)).toBe(stored);
  expect(sink.logs.filter(({ event }) => event === 'sink.restarting')).toEqual([]);
  expect(await stage.query('SELECT 1 FROM parked_events')).toHaveLength(0);
  await stage.requireAppliedOnce();
});

test('skips and counts orders that the live topic repeats', async () => {
  const sink = await startSink('sink_repeats');
  const events = await stage.publish(users);
  await stage.waitDrained();
  const repeated = events.map((event) => ({
    partition: 1,
    key: Buffer.from(event.userId),
    value: encodeOrderPlaced(event),
  }));
  await stage.publishRaw(repeated);
  await publishAndRequireAppliedOnce();
  expect(await sumOf(sink, 'tillstream_sink_duplicates_total')).toBe(20);
});

test('passes aborted transactions, also where nothing else follows', async () => {
  await startSink('sink_aborted');
  const never = [0, 1, 2, 3, 4, 5].map((partition) => ({
    partition,
    key: Buffer.from('user-1'),
    value: encodeOrderPlaced(createEvent({ userId: 'user-1' })),
  }));
  for (let round = 0; round < 3; round += 1) {
    await stage.publishRaw(never, { abort: true });
    await stage.publish(users);
    await stage.publishRaw(never, { abort: true });
    await stage.publishRaw(never, { abort: true });
  }
  await requireAppliedOnce();
});

test('halts the partition whose records were deleted before it has applied them', async () => {
  const first = await startDrainedSink('sink_deleted');
  await first.stop();
  await stage.publish(users);
  await stage.publish(users);
  const stored = await readNextOffset(stage.topic, 0);
  const deletedTo = stored + 2n;
  await deleteRecords(0, String(deletedTo));
  const second = await stage.startSink();
  const halted = await waitHalted(second, 'RECORDS_LOST');
  expect(halted.details).toMatchObject({
    topic: stage.topic,
    partition: '0',
    expectedOffset: String(stored),
    earliestOffset: String(deletedTo),
  });
  expect(halted.message).toMatch(/committed at [0-9A-F]+\/[0-9A-F]+\)\. .* run `npm run adopt -- sink`/);
});

test('halts the partition whose records are deleted under its eyes before it has fetched them', async () => {
  const sink = await startDrainedSink('sink_deleted_live');
  const stored = await readNextOffset(stage.topic, 0);
  sink.pause();
  // Until the fetch that waits at the broker has come back empty.
  await delay(1_000);
  await stage.publish(users);
  await stage.publish(users);
  await deleteRecords(0, String(stored + 1n));
  sink.resume();
  const halted = await waitHalted(sink, 'RECORDS_LOST');
  expect(halted.details).toMatchObject({ partition: '0', expectedOffset: String(stored) });
});

test('leaves the group and joins it again when the database names another owner', async () => {
  const sink = await startDrainedSink('sink_stale');
  await stage.query('UPDATE consumer_offsets SET owner_epoch = owner_epoch + 1 WHERE topic = $1 AND partition = 1', [
    stage.topic,
  ]);
  await publishAndRequireAppliedOnce();
  const restarted = await sink.waitForLog('sink.restarting');
  expect(restarted).toMatchObject({ reason: 'stale-owner', topic: stage.topic, partition: 1 });
  expect(sink.logs.filter(({ event }) => event === 'sink.assigned')).toHaveLength(2);
});

test('follows an offset that went back with its database, and repeats no effect', async () => {
  const sink = await startDrainedSink('sink_went_back');
  // What a failover that loses the last commits does to a running sink, except that the ledger keeps the orders here.
  const moved = await stage.query(
    'UPDATE consumer_offsets SET next_offset = 0 WHERE topic = $1 AND next_offset > 0 RETURNING 1',
    [stage.topic],
  );
  expect(moved.length).toBeGreaterThan(1);
  await publishAndRequireAppliedOnce();
  expect(await sumOf(sink, 'tillstream_sink_duplicates_total')).toBe(20);
});

test('halts the partition of a topic that it never consumed which does not begin at 0, and applies the others', async () => {
  await createStage('sink_not_from_0');
  await stage.publish(users);
  await deleteRecords(4, '1');
  const sink = await stage.startSink();
  const halted = await waitHalted(sink, 'RECORDS_LOST');
  expect(halted.details).toMatchObject({ partition: '4', expectedOffset: '0', earliestOffset: '1' });
  await waitFor('the others to be applied', async () => (await readNextOffset(stage.topic, 0)) > 0n);
  expect(await readNextOffset(stage.topic, 4)).toBe(0n);
});

test('halts when its topic was deleted and created anew, whether it runs or not', async () => {
  const first = await startDrainedSink('sink_recreated');
  const second = await stage.startSink();
  await second.waitForLog('sink.assigned');
  await second.stop();
  await withKafkaAdmin(stage.environment.servers.directBrokers, (admin) =>
    admin.deleteTopics({ topics: [stage.topic] }),
  );
  await waitFor('the topic to be gone and back', () => stage.createTopics({ replay: false }).then(() => true));
  await first.waitForLog('pipeline.halted', { deadlineMs: 60_000 });
  const { body } = await first.ready();
  expect((body.halted as { code: string }).code).toMatch(/^(OFFSET_BEYOND_END|OFFSET_WENT_BACK)$/);
  const third = await stage.startSink();
  await third.waitForLog('pipeline.halted', { deadlineMs: 60_000 });
  expect((await third.ready()).body).toMatchObject({ pipeline: 'halted', halted: { code: 'OFFSET_BEYOND_END' } });
  expect((await fetch(`${third.url}/health/pipeline`)).status).toBe(503);
});

test('refuses a live topic that is compacted', async () => {
  stage = await createSinkStage('sink_compacted');
  await withKafkaAdmin(stage.environment.servers.directBrokers, (admin) =>
    admin.createTopics({
      waitForLeaders: true,
      topics: [{ topic: stage.topic, numPartitions: 2, configEntries: [{ name: 'cleanup.policy', value: 'compact' }] }],
    }),
  );
  const sink = await stage.startSink();
  await waitFor(
    'the halt',
    async () => ((await sink.ready()).body.halted as { code?: string })?.code === 'TOPIC_REFUSED',
  );
});
