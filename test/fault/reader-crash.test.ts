// The reader killed at every point where what Kafka has and what Postgres was told differ, with orders flowing; after
// the next start nothing is missing and nothing is there twice (fault class A).
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createReaderStage, type ReaderStage } from '../support/reader-stage.ts';

describe('a reader that is killed', () => {
  let stage: ReaderStage;
  beforeEach(async () => {
    stage = await createReaderStage('reader_crash');
  });
  afterEach(() => stage.cleanUp());

  const crashPoints = [
    'reader.before-send=kill:3',
    'reader.before-commit=kill:3',
    'reader.after-publish=kill:3',
    'reader.before-acknowledge=kill:3',
    'reader.after-acknowledge=kill:3',
  ];
  it.each(crashPoints)('loses and repeats nothing with %s while orders flow', async (failpoints) => {
    const first = await stage.startStreaming({ failpoints });
    const load = stage.load.pace({ first: 0, count: 150, ordersPerSecond: 100 });
    expect((await first.exited).signal).toBe('SIGKILL');
    await stage.startStreaming();
    await load;
    await stage.requireClean();
  });

  it('loses no transaction whose commit record begins where the last acknowledged one ended', async () => {
    const first = await stage.startStreaming({ failpoints: 'reader.after-acknowledge=kill:4' });
    const load = stage.load.commitSideBySide({ first: 0, count: 16 });
    const more = stage.load.commitSideBySide({ first: 16, count: 16 });
    expect((await first.exited).signal).toBe('SIGKILL');
    await Promise.all([load, more]);
    for (let round = 2; round < 5; round++) {
      const reader = await stage.startStreaming();
      await stage.load.commitSideBySide({ first: round * 16, count: 16 });
      await stage.oracle.waitUntilDrained(20_000);
      await reader.kill();
    }
    await stage.startStreaming();
    await stage.requireClean();
  });

  it('publishes a transaction of many orders whole, by INSERT and by COPY, killed in the middle of it', async () => {
    const first = await stage.startStreaming({
      failpoints: 'reader.before-commit=kill:3',
      more: { GROUP_MAX_ORDERS: '100', SPILL_BYTES: '65536' },
    });
    const loads = (async () => {
      await stage.load.insertTogether({ first: 0, count: 1_000 });
      await stage.load.copyTogether({ first: 1_000, count: 3_000 });
      await stage.load.backlog({ first: 4_000, count: 200 });
    })();
    expect((await first.exited).signal).toBe('SIGKILL');
    await loads;
    await stage.startStreaming({ more: { GROUP_MAX_ORDERS: '100', SPILL_BYTES: '65536' } });
    await stage.requireClean();
  });

  it('publishes nothing of a savepoint that was rolled back', async () => {
    await stage.startStreaming();
    await stage.load.insertWithSavepoints(0);
    await stage.load.insertWithSavepoints(10);
    await stage.requireClean();
  });
});
