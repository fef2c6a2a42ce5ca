// What others do to the topics, or Kafka itself does in time: retention, more partitions, a lower limit for messages, a
// foreign transaction that is never ended, the topic deleted and created anew. Halting where orders would be lost, going
// on where none are (I1, I8, I11; faults C). How the reader sees a topic created anew is in fault/reader/halts.test.ts.
import { type Admin, ConfigResourceTypes } from 'kafkajs';
import { afterEach, describe, expect, it } from 'vitest';
import { withKafkaAdmin } from '../../support/kafka/admin.ts';
import { openStrangersTransaction } from '../../support/kafka/stranger.ts';
import { readTopic } from '../../support/oracle/read-topic.ts';
import type { Service } from '../../support/process/service-process.ts';
import { withServer } from '../../support/stack/environment.ts';
import { createPipelineStage, type PipelineStage } from '../../support/stack/pipeline-stage.ts';
import { readHalt } from '../../support/stack/require-halted.ts';
import { createSinkStage, type SinkStage } from '../../support/stack/sink-stage.ts';
import { waitFor } from '../../support/wait.ts';

describe('the live topic', () => {
  let stage: PipelineStage;
  afterEach(() => stage.cleanUp());

  const withAdmin = <T>(use: (admin: Admin, topic: string) => Promise<T>): Promise<T> =>
    withKafkaAdmin(stage.environment.servers.directBrokers, (admin) => use(admin, stage.environment.env.ORDERS_TOPIC));
  /** As retention would: everything that is in the topic now. */
  const deleteRecords = () =>
    withAdmin(async (admin, topic) => {
      const ends = await admin.fetchTopicOffsets(topic);
      const partitions = ends.map(({ partition, high }) => ({ partition, offset: high }));
      await admin.deleteTopicRecords({ topic, partitions });
    });
  const limitMessages = (bytes: number) =>
    withAdmin((admin, topic) =>
      admin.alterConfigs({
        validateOnly: false,
        resources: [
          {
            type: ConfigResourceTypes.TOPIC,
            name: topic,
            configEntries: [{ name: 'max.message.bytes', value: String(bytes) }],
          },
        ],
      }),
    );
  const start = async (label: string): Promise<{ reader: Service; sink: Service }> => {
    stage = await createPipelineStage(label, { carts: true });
    const sink = await stage.startSink();
    const reader = await stage.startStreaming();
    await stage.openCarts(1_000);
    await stage.load.pace({ first: 0, count: 60, ordersPerSecond: 100 });
    await stage.requireClean();
    return { reader, sink };
  };
  const committedRecords = async (): Promise<number> => {
    const { env, servers } = stage.environment;
    const brokers = servers.directBrokers.split(',');
    const live = await readTopic({ brokers, topic: env.ORDERS_TOPIC, deadlineMs: 30_000 });
    return live.flatMap(({ records }) => records.filter(({ outcome }) => outcome === 'committed')).length;
  };
  const countRows = (table: 'applied_orders' | 'parked_events') =>
    withServer(stage.environment.env.CART_DATABASE_URL, async (client) => {
      const { rows } = await client.query<{ n: number }>(`SELECT count(*)::int AS n FROM ${table}`);
      return rows[0]!.n;
    });
  const applied = () => countRows('applied_orders');

  it('of which retention has deleted what the sink had not applied halts the sink; carts are served on', async () => {
    const { sink } = await start('retention_sink');
    await sink.stop();
    await stage.load.backlog({ first: 60, count: 60 });
    await waitFor('the orders to be published', async () => (await committedRecords()) === 120, { deadlineMs: 30_000 });
    await deleteRecords();
    // What a sink that jumps over the gap would apply.
    await stage.load.backlog({ first: 120, count: 60 });
    await waitFor('more to follow the gap', async () => (await committedRecords()) === 60, { deadlineMs: 30_000 });
    const again = await stage.startSink();
    const { details, message } = await readHalt(again, 'RECORDS_LOST');
    expect(message).toContain('npm run adopt -- sink');
    expect(details).toMatchObject({ lastCommitLsn: expect.stringMatching(/^[0-9A-F]+\/[0-9A-F]+$/) });
    expect(BigInt(details.earliestOffset!)).toBeGreaterThan(BigInt(details.expectedOffset!));
    expect((await fetch(`${again.url}/carts/user-1`)).status).toBe(200);
    await again.stop();
    expect(await applied()).toBe(60);
  });

  it('of which retention deletes what a running sink has not fetched halts it, although no record follows', async () => {
    const { sink } = await start('retention_running');
    sink.pause();
    // The fetch that is under way is answered with these, at most. Of the others the sink will never see one.
    await stage.load.backlog({ first: 60, count: 60 });
    await waitFor('the orders to be published', async () => (await committedRecords()) === 120, { deadlineMs: 30_000 });
    await stage.load.backlog({ first: 120, count: 60 });
    await waitFor('the others to be published', async () => (await committedRecords()) === 180, { deadlineMs: 30_000 });
    await deleteRecords();
    sink.resume();
    await readHalt(sink, 'RECORDS_LOST');
    expect(await applied()).toBeLessThanOrEqual(120);
    expect((await fetch(`${sink.url}/carts/user-1`)).status).toBe(200);
  });

  it('of which retention has deleted everything, applied by then, stops neither reader nor sink', async () => {
    const { reader, sink } = await start('retention_all');
    await reader.stop();
    await deleteRecords();
    await sink.stop();
    await stage.startSink();
    const again = await stage.startStreaming();
    await stage.load.pace({ first: 60, count: 60, ordersPerSecond: 100 });
    await waitFor('the new orders to be applied', async () => (await applied()) === 120, { deadlineMs: 60_000 });
    expect(again.logs.filter(({ event }) => event === 'pipeline.halted')).toEqual([]);
  });

  it('that gets more partitions is used as before: no user changes partition; the reader says so', async () => {
    const { reader } = await start('more_partitions');
    await withAdmin((admin, topic) => admin.createPartitions({ topicPartitions: [{ topic, count: 9 }] }));
    await stage.load.pace({ first: 60, count: 60, ordersPerSecond: 100 });
    await reader.kill();
    const again = await stage.startStreaming();
    expect(await again.waitForLog('reader.partitions-added')).toMatchObject({ partitions: 9, used: 6 });
    await stage.load.pace({ first: 120, count: 60, ordersPerSecond: 100 });
    await stage.requireClean();
    const offsets = await withAdmin((admin, topic) => admin.fetchTopicOffsets(topic));
    expect(offsets.filter(({ partition }) => partition >= 6).map(({ high }) => high)).toEqual(['0', '0', '0']);
  });

  it('that takes only small messages halts the reader, before and after a restart, until it is repaired', async () => {
    const { reader } = await start('too_large');
    await limitMessages(300);
    await stage.load.insertTogether({ first: 60, count: 30 });
    // No gap, so no second position: what is published ends right before the event.
    const { message } = await readHalt(reader, 'EVENT_TOO_LARGE');
    expect(message).toMatch(/max\.message\.bytes.*kafka-configs\.sh/);
    expect(message).not.toMatch(/user-|SKU-/);
    await reader.stop();
    const still = await stage.startReader();
    await readHalt(still, 'EVENT_TOO_LARGE');
    await still.stop();
    expect(await applied()).toBe(60);
    await limitMessages(1_048_588);
    await stage.startStreaming();
    await stage.load.pace({ first: 90, count: 30, ordersPerSecond: 100 });
    await stage.requireClean();
  });

  it('with a transaction that another producer leaves hanging goes on when Kafka has aborted it', async () => {
    const { reader } = await start('hanging');
    await reader.stop();
    const doomed = await stage.startStreaming({ failpoints: 'reader.after-send=kill' });
    const stranger = await openStrangersTransaction({
      brokers: stage.environment.servers.directBrokers,
      topic: stage.environment.env.ORDERS_TOPIC,
      partitions: 6,
      name: `stranger-${stage.environment.id}`,
      timeoutMs: 8_000,
    });
    try {
      await stage.load.pace({ first: 60, count: 60, ordersPerSecond: 100 });
      // A restart in the midst of it: what lies behind the open transaction can't be read as committed. Killed with a
      // transaction of its own open, so that two aborted ones overlap: kafkajs by itself would hand over a record of them.
      await doomed.exited;
      const again = await stage.startReader();
      const waiting = await again.waitForLog('reader.waiting', { deadlineMs: 30_000 });
      expect((waiting.err as { code?: string }).code).toBe('LIVE_TOPIC_UNSETTLED');
      await stage.load.pace({ first: 120, count: 60, ordersPerSecond: 100 });
      const sinceMs = performance.now();
      await stage.requireClean(60_000);
      expect(await countRows('parked_events')).toBe(0);
      console.info(`hanging transaction: drained ${Math.round(performance.now() - sinceMs)} ms after the load`);
      expect(again.logs.filter(({ event }) => event === 'pipeline.halted')).toEqual([]);
    } finally {
      await stranger.leave();
    }
  });
});

describe('a live topic that was deleted and created anew, with orders in it,', () => {
  const users = Array.from({ length: 24 }, (_, index) => `user-${index}`);
  let stage: SinkStage;
  afterEach(() => stage.cleanUp());

  const start = async (): Promise<Service> => {
    stage = await createSinkStage('topic_anew');
    await stage.createTopics();
    const sink = await stage.startSink();
    await stage.fillCarts(users);
    for (let round = 0; round < 3; round += 1) await stage.publish(users);
    await stage.waitDrained();
    await stage.requireAppliedOnce();
    return sink;
  };
  const createAnew = async (): Promise<void> => {
    const { directBrokers } = stage.environment.servers;
    await withKafkaAdmin(directBrokers, (admin) => admin.deleteTopics({ topics: [stage.topic] }));
    await waitFor('the topic to be gone and back', () => stage.createTopics({ replay: false }).then(() => true));
  };
  const applied = async () => (await stage.query<{ n: number }>('SELECT count(*)::int AS n FROM applied_orders'))[0]!.n;
  const taken = async () =>
    (await stage.query<{ n: number }>('SELECT sum(1000000 - quantity)::int AS n FROM cart_lines'))[0]!.n;
  /** The carts are served as they were, and after the sink's end nothing of the new topic has been applied. */
  const requireNothingApplied = async (sink: Service): Promise<void> => {
    const response = await fetch(`${sink.url}/carts/user-1`);
    expect(response.status).toBe(200);
    expect(await response.text()).toContain(String(1_000_000 - 3));
    await sink.stop();
    expect(await applied()).toBe(72);
    expect(await taken()).toBe(72);
  };

  it('halts a sink that was down: it has consumed more than the topic holds', async () => {
    const first = await start();
    await first.stop();
    await createAnew();
    await stage.publish(users);
    const sink = await stage.startSink();
    const { details, message } = await readHalt(sink, 'OFFSET_BEYOND_END');
    expect(message).toContain('npm run adopt -- sink');
    expect(BigInt(details.expectedOffset!)).toBeGreaterThan(BigInt(details.highWatermark!));
    expect(details.lastCommitLsn).toMatch(/^[0-9A-F]+\/[0-9A-F]+$/);
    await requireNothingApplied(sink);
  });

  it('halts a sink that was running, wherever Kafka lets it read on', async () => {
    const sink = await start();
    await createAnew();
    await stage.publish(users);
    const { code, details, message } = await readHalt(sink, /^(OFFSET_BEYOND_END|OFFSET_WENT_BACK)$/);
    expect(message).toContain('npm run adopt -- sink');
    const found = code === 'OFFSET_WENT_BACK' ? details.fetchedOffset : details.highWatermark;
    expect(BigInt(details.expectedOffset!)).toBeGreaterThan(BigInt(found!));
    await requireNothingApplied(sink);
  });

  it.each(['down', 'running'])(
    'halts a sink that was %s also when the topic has grown beyond all it had consumed, with another generation',
    async (how) => {
      const first = await start();
      if (how === 'down') await first.stop();
      else first.pause();
      await createAnew();
      for (let round = 0; round < 6; round += 1) await stage.publish(users, { generation: 2 });
      const sink = how === 'down' ? await stage.startSink() : first;
      if (how === 'running') sink.resume();
      const { message } = await readHalt(sink, 'TOPIC_RECREATED');
      expect(message).toContain('npm run adopt -- sink');
      await requireNothingApplied(sink);
    },
  );
});
