// Sinks that are stopped and resumed, and come and go, with orders flowing: no effect is lost or doubled, and no partition is
// left without an owner (I3, I6, I8; faults B and F). Stopped at points of a batch: zombies.test.ts.

import { afterEach, describe, test } from 'vitest';
import { type SinkTraffic, startTraffic } from '../../support/load/sink-traffic.ts';
import type { Service } from '../../support/process/service-process.ts';
import { createSinkStage, type SinkStage } from '../../support/stack/sink-stage.ts';
import { waitFor } from '../../support/wait.ts';

const users = Array.from({ length: 24 }, (_, index) => `user-${index}`);
let stage: SinkStage;
let traffic: SinkTraffic | undefined;

afterEach(async () => {
  await traffic?.stop();
  traffic = undefined;
  await stage.cleanUp();
});

/** Every partition of both topics is owned by exactly one of the sinks, and none is behind. */
async function waitAllOwned(sinks: readonly Service[]): Promise<void> {
  await waitFor(
    'each partition to have one owner and no lag',
    async () => {
      const bodies = await Promise.all(sinks.map(async (sink) => (await sink.ready()).body));
      const owned = bodies.flatMap(
        ({ partitions }) => partitions as { topic: string; partition: number; lagRecords?: number }[],
      );
      const names = new Set(owned.map(({ topic, partition }) => `${topic}[${partition}]`));
      const behind = owned.filter(({ lagRecords }) => lagRecords !== 0);
      if (owned.length !== 12 || names.size !== 12) throw new Error(`${owned.length} owned, ${names.size} different`);
      if (behind.length > 0) throw new Error(`${behind.length} behind`);
      return true;
    },
    { deadlineMs: 40_000, everyMs: 200 },
  );
}

describe('a sink that is stopped', () => {
  test('in the middle of a database transaction does not block its successor, and changes nothing when it resumes', async () => {
    stage = await createSinkStage('sink_stop_tx');
    await stage.createTopics();
    const zombie = await stage.startSink({ failpoints: 'sink.mid-transaction=pause:3' });
    await stage.fillCarts(users);
    traffic = startTraffic(stage, users);
    await zombie.waitForLog('failpoint.paused');
    zombie.pause();
    const successor = await stage.startSink();
    await successor.waitForLog('sink.assigned', { deadlineMs: 40_000 });
    await waitFor(
      'the successor to own everything',
      async () => ((await successor.ready()).body.partitions as unknown[]).length === 12,
      { deadlineMs: 40_000 },
    );
    await traffic.stop();
    await stage.waitDrained(40_000);
    await stage.requireAppliedOnce();

    const resumedAt = zombie.logs.length;
    zombie.resume();
    process.kill(zombie.pid, 'SIGUSR2');
    traffic = startTraffic(stage, users);
    await zombie.waitForLog('sink.applied', { deadlineMs: 40_000, from: resumedAt });
    await traffic.stop();
    await stage.waitDrained(40_000);
    await waitAllOwned([zombie, successor]);
    await stage.requireAppliedOnce();
  });

  test('beyond its session is succeeded, and comes back as a member like any other', async () => {
    stage = await createSinkStage('sink_stop');
    await stage.createTopics();
    const zombie = await stage.startSink();
    await stage.fillCarts(users);
    traffic = startTraffic(stage, users);
    await zombie.waitForLog('sink.applied');
    const successor = await stage.startSink();
    await successor.waitForLog('sink.applied', { deadlineMs: 40_000 });
    zombie.pause();
    await waitFor(
      'the successor to own everything',
      async () => ((await successor.ready()).body.partitions as unknown[]).length === 12,
      { deadlineMs: 40_000 },
    );
    zombie.resume();
    await waitFor(
      'both to own some',
      async () => ((await successor.ready()).body.partitions as unknown[]).length === 6,
      { deadlineMs: 40_000 },
    );
    await traffic.stop();
    await stage.waitDrained(40_000);
    await waitAllOwned([zombie, successor]);
    await stage.requireAppliedOnce();
  });

  test('and resumed over and over among three never leaves a partition orphaned', async () => {
    stage = await createSinkStage('sink_stop_often');
    await stage.createTopics();
    const sinks = [await stage.startSink(), await stage.startSink(), await stage.startSink()];
    await stage.fillCarts(users);
    await waitAllOwned(sinks);
    traffic = startTraffic(stage, users);
    for (const [index, sink] of sinks.entries()) {
      const other = sinks[(index + 1) % sinks.length]!;
      const from = other.logs.length;
      sink.pause();
      // Its session has ended and its partitions are just handed over: that is when it comes back.
      await other.waitForLog('sink.assigned', { deadlineMs: 40_000, from });
      sink.resume();
    }
    await traffic.stop();
    await stage.waitDrained(60_000);
    await waitAllOwned(sinks);
    await stage.requireAppliedOnce();
  });
});

test('partitions move between one, two and three sinks while orders flow', async () => {
  stage = await createSinkStage('sink_rebalance');
  await stage.createTopics();
  const first = await stage.startSink();
  await stage.fillCarts(users);
  traffic = startTraffic(stage, users);
  await first.waitForLog('sink.applied');
  const second = await stage.startSink();
  await second.waitForLog('sink.applied', { deadlineMs: 40_000 });
  const third = await stage.startSink();
  await third.waitForLog('sink.applied', { deadlineMs: 40_000 });
  await first.stop();
  const from = second.logs.length;
  await second.waitForLog('sink.assigned', { deadlineMs: 40_000, from });
  await second.waitForLog('sink.applied', { deadlineMs: 40_000, from: second.logs.length });
  await traffic.stop();
  await stage.waitDrained(40_000);
  await waitAllOwned([second, third]);
  await stage.requireAppliedOnce();
});
