// Sinks that are killed at exact moments, with orders flowing: no effect is lost or doubled (I3, I6, I8; faults B).
// Sinks that are stopped and resumed: stopped.test.ts.

import { afterEach, describe, expect, test } from 'vitest';
import { type SinkTraffic, startTraffic } from '../../support/load/sink-traffic.ts';
import { createSinkStage, type SinkStage } from '../../support/stack/sink-stage.ts';

const users = Array.from({ length: 24 }, (_, index) => `user-${index}`);
let stage: SinkStage;
let traffic: SinkTraffic | undefined;

afterEach(async () => {
  await traffic?.stop();
  traffic = undefined;
  await stage.cleanUp();
});

describe('a sink that is killed', () => {
  test.each(['sink.after-poll', 'sink.mid-transaction', 'sink.before-commit', 'sink.after-commit'])(
    'at %s loses and doubles nothing',
    async (failpoint) => {
      stage = await createSinkStage('sink_kill');
      await stage.createTopics();
      const doomed = await stage.startSink({ failpoints: `${failpoint}=kill:4` });
      await stage.fillCarts(users);
      traffic = startTraffic(stage, users);
      expect((await doomed.exited).signal).toBe('SIGKILL');
      const successor = await stage.startSink();
      await successor.waitForLog('sink.applied', { deadlineMs: 40_000 });
      expect(await traffic.stop()).toBeGreaterThan(0);
      await stage.waitDrained(40_000);
      await stage.requireAppliedOnce();
    },
  );
});
