// The first start killed at every step, on a database that has orders already and gets more all the while: intent, slot,
// snapshot, and the first streaming start. Every order is in the snapshot or in the stream, none in both, none in neither.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createPipelineStage, type PipelineStage } from '../../support/stack/pipeline-stage.ts';

describe('a first start that is killed', () => {
  let stage: PipelineStage;
  beforeEach(async () => {
    stage = await createPipelineStage('reader_first_start');
  });
  afterEach(() => stage.cleanUp());

  it.each([
    'reader.intent-written=kill',
    'reader.slot-created=kill',
    'reader.snapshot-published=kill:2',
    'reader.first-start-done=kill',
    'reader.slot-taken=kill',
    'reader.before-fence=kill',
    'reader.fenced=kill',
    'reader.before-streaming=kill',
  ])('finishes the first start after %s', async (failpoints) => {
    await stage.load.backlog({ first: 0, count: 2_500 });
    // Commits before, between and after intent, slot, snapshot and stream, of the killed start and of the next one.
    let isOver = false;
    let placed = 2_500;
    const load = (async () => {
      for (; !isOver; placed += 10) await stage.load.pace({ first: placed, count: 10, ordersPerSecond: 50 });
    })();
    try {
      const first = await stage.startReader({ failpoints });
      expect((await first.exited).signal).toBe('SIGKILL');
      const atKill = placed;
      expect(atKill).toBeGreaterThan(2_500);
      await stage.startStreaming();
      expect(placed).toBeGreaterThan(atKill);
    } finally {
      isOver = true;
      await load;
    }
    await stage.load.backlog({ first: placed, count: 20 });
    await stage.requireClean();
  });
});
