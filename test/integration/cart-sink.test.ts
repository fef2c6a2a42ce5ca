// The sink as a real process between real Kafka and Postgres; a transactional producer stands in for the reader.

import { afterEach, expect, test } from 'vitest';
import { encodeOrderPlaced } from '../../schemas/codec.ts';
import { createEvent } from '../support/sink-events.ts';
import { createSinkStage, type SinkStage } from '../support/sink-stage.ts';
import { waitFor } from '../support/wait.ts';

const users = Array.from({ length: 20 }, (_, index) => `user-${index}`);
let stage: SinkStage;

afterEach(() => stage.cleanUp());

test('applies each published order once, and goes on where it stood after a restart', async () => {
  stage = await createSinkStage('sink_restart');
  await stage.createTopics();
  const first = await stage.startSink();
  await stage.fillCarts(users);
  for (let round = 0; round < 5; round += 1) await stage.publish(users);
  await stage.waitDrained();
  await stage.requireAppliedOnce();
  await first.stop();
  await stage.publish(users);
  const second = await stage.startSink();
  await stage.publish(users);
  await stage.waitDrained();
  await stage.requireAppliedOnce();
  const metrics = await second.metrics();
  expect(metrics.get(`tillstream_sink_orders_applied_total{topic="${stage.topic}",service="cart-sink"}`)).toBe(40);
  expect(metrics.get(`tillstream_sink_duplicates_total{topic="${stage.topic}",service="cart-sink"}`) ?? 0).toBe(0);
  expect((await second.stop()).code).toBe(0);
});

test('waits for its topics and says so, then consumes the replay topic as soon as it exists', async () => {
  stage = await createSinkStage('sink_waits');
  const sink = await stage.startSink();
  await sink.waitForLog('sink.waiting-for-topics');
  await sink.waitReady();
  expect((await sink.ready()).body).toMatchObject({
    pipeline: 'waiting-for-topics',
    waitingFor: [stage.topic, stage.replayTopic],
  });
  await stage.fillCarts(users);
  await stage.createTopics({ replay: false });
  await stage.publish(users);
  await stage.waitDrained();
  await stage.requireAppliedOnce();
  expect((await stage.storedOffsets()).every(({ topic }) => topic === stage.topic)).toBe(true);

  await stage.createReplayTopic();
  await waitFor(
    'the replay topic to be owned',
    async () => (await stage.storedOffsets()).some(({ topic }) => topic === stage.replayTopic),
    { deadlineMs: 20_000 },
  );
  // A replay repeats orders, at positions that are long past: it is taken all the same, and changes nothing twice.
  const event = createEvent({ userId: 'user-1' });
  await stage.publishRaw([{ partition: 0, key: Buffer.from('user-1'), value: encodeOrderPlaced(event) }], {
    topic: stage.replayTopic,
  });
  await stage.publishRaw([{ partition: 0, key: Buffer.from('user-1'), value: encodeOrderPlaced(event) }], {
    topic: stage.replayTopic,
  });
  await waitFor('the replayed record', async () => {
    const offsets = await stage.storedOffsets();
    return offsets.find(({ topic, partition }) => topic === stage.replayTopic && partition === 0)!.nextOffset === 4n;
  });
  expect(await stage.query('SELECT 1 FROM applied_orders WHERE order_id = $1', [event.orderId])).toHaveLength(1);
});
