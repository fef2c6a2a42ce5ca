// The first start killed at every step, on a database that has orders already and gets more all the while: intent, slot,
// snapshot, and the first streaming start. Every order is in the snapshot or in the stream, none in both, none in neither.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { withServer } from '../../support/stack/environment.ts';
import { createPipelineStage, type PipelineStage } from '../../support/stack/pipeline-stage.ts';
import { waitPaused } from '../../support/stack/start-services.ts';

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

  it('at 95 % publishes the rest, and tells meanwhile how far it is', async () => {
    const BATCH = 1_000;
    await stage.load.backlog({ first: 0, count: 20 * BATCH });
    await withServer(stage.environment.env.ORDER_DATABASE_URL, (client) => client.query('ANALYZE orders'));
    const first = await stage.startReader({ failpoints: 'reader.snapshot-published=kill:19' });
    expect((await first.exited).signal).toBe('SIGKILL');
    await stage.load.backlog({ first: 20 * BATCH, count: 20 });

    const second = await stage.startReader({ failpoints: 'reader.snapshot-published=pause' });
    await waitPaused(second, 'reader.snapshot-published');
    const health = (await (await fetch(`${second.url}/health/pipeline`)).json()) as Record<string, unknown>;
    expect(health.firstStart).toMatchObject({
      before: 19 * BATCH,
      estimatedTotal: expect.any(Number),
      ordersPerSecond: expect.any(Number),
      secondsLeft: expect.any(Number),
    });
    const metrics = await second.metrics();
    expect(metrics.get('tillstream_reader_first_start_orders{of="estimated"}')).toBeGreaterThanOrEqual(20 * BATCH);
    expect(metrics.get('tillstream_reader_first_start_orders{of="done"}')).toBeGreaterThan(19 * BATCH);
    process.kill(second.pid, 'SIGUSR2');
    await second.waitForLog('reader.streaming', { deadlineMs: 60_000 });
    const published = (await second.metrics()).get('tillstream_reader_orders_published_total');
    expect(published).toBe(BATCH + 20);
    await stage.requireClean();
  });
});
