// Sinks stopped (SIGSTOP) at exact points and woken after a successor has taken over, killed in the midst of a rebalance,
// and readers and sinks of two versions side by side during a rolling deploy. A zombie changes nothing, and nobody waits
// for it for ever (I3, I6, I8; faults B and F). Stopped in a database transaction, or idle: sink-crash.test.ts.
import { afterEach, describe, expect, it } from 'vitest';
import { createPipelineStage, type PipelineStage } from '../support/pipeline-stage.ts';
import type { Service } from '../support/service-process.ts';
import { waitFor } from '../support/wait.ts';

let stage: PipelineStage;
afterEach(() => stage.cleanUp());

const partitionsOf = async (sink: Service) => (await sink.ready()).body.partitions as readonly unknown[];
const waitOwned = (sink: Service, count: number) =>
  waitFor(`the sink to own ${count} partitions`, async () => (await partitionsOf(sink)).length === count, {
    deadlineMs: 60_000,
    everyMs: 100,
  });
const waitPaused = (sink: Service) => sink.waitForLog('failpoint.paused', { deadlineMs: 60_000 });
const halts = (services: readonly Service[]) =>
  services.flatMap(({ logs }) => logs.filter(({ event }) => event === 'pipeline.halted'));

describe('a sink stopped and woken after its successor has taken over', () => {
  it.each(['sink.after-poll', 'sink.before-commit', 'sink.after-commit'])(
    'changes nothing any more: %s',
    async (failpoint) => {
      stage = await createPipelineStage('zombie');
      const zombie = await stage.startSink({ failpoints: `${failpoint}=pause:4` });
      await stage.startStreaming();
      await stage.openCarts(600);
      const load = stage.load.pace({ first: 0, count: 300, ordersPerSecond: 100 });
      await waitPaused(zombie);
      zombie.pause();
      const stoppedMs = performance.now();
      const successor = await stage.startSink();
      await waitOwned(successor, 12);
      await load;
      await stage.oracle.waitUntilDrained(60_000);
      console.info(`${failpoint}: successor drained ${Math.round(performance.now() - stoppedMs)} ms after the stop`);
      // The zombie wakes with its batch, its transaction or its answer in hand.
      const from = zombie.logs.length;
      process.kill(zombie.pid, 'SIGUSR2');
      zombie.resume();
      await zombie.waitForLog('sink.assigned', { deadlineMs: 60_000, from });
      await waitOwned(successor, 6);
      await stage.load.pace({ first: 300, count: 300, ordersPerSecond: 100 });
      await stage.requireClean(60_000);
      expect(halts([zombie, successor])).toEqual([]);
    },
  );
});

describe('a rebalance', () => {
  it.each(['joining', 'owning'])('in which the %s sink is killed ends with every partition owned', async (who) => {
    stage = await createPipelineStage('rebalance');
    const owning = await stage.startSink();
    await stage.startStreaming();
    await stage.openCarts(600);
    await waitOwned(owning, 12);
    const load = stage.load.pace({ first: 0, count: 600, ordersPerSecond: 60 });
    const lost = owning.logs.length;
    const joining = await stage.startSink();
    // Partitions have been let go, or are just being given.
    await Promise.race([
      owning.waitForLog('sink.lost-partition', { deadlineMs: 60_000, from: lost }),
      owning.waitForLog('sink.assigned', { deadlineMs: 60_000, from: lost }),
    ]);
    const [dead, left] = who === 'joining' ? [joining, owning] : [owning, joining];
    await dead.kill();
    const sinceMs = performance.now();
    await waitOwned(left, 12);
    console.info(`rebalance (${who} killed): all owned ${Math.round(performance.now() - sinceMs)} ms later`);
    await load;
    await stage.requireClean(60_000);
  });
});

// Three takeovers with default times.
describe('a rolling deploy', { timeout: 300_000 }, () => {
  it('starts new readers and sinks beside the old ones: no ping-pong, and nothing twice or never', async () => {
    stage = await createPipelineStage('deploy');
    // The times of a default installation: takeovers within 15 s.
    const defaults = { WAL_SENDER_TIMEOUT_MS: '10000', TRANSACTION_TIMEOUT_MS: '60000' };
    let reader = await stage.startStreaming({ more: defaults });
    let sink = await stage.startSink({ more: { SESSION_TIMEOUT_MS: '10000' } });
    await stage.openCarts(2_000);
    let isDeploying = true;
    const load = (async () => {
      for (let first = 0; isDeploying; first += 30) await stage.load.pace({ first, count: 30, ordersPerSecond: 30 });
    })();
    for (let round = 0; round < 3; round += 1) {
      const [oldReader, oldSink] = [reader, sink];
      const before = oldReader.logs.length;
      reader = await stage.startReader({ more: defaults });
      sink = await stage.startSink({ more: { SESSION_TIMEOUT_MS: '10000' } });
      await reader.waitForLog('reader.standby', { deadlineMs: 30_000 });
      await waitOwned(sink, 6);
      expect(oldReader.logs.slice(before).filter(({ event }) => event === 'reader.restarting')).toEqual([]);
      const sinceMs = performance.now();
      // Once told to end, once not.
      if (round === 1) await Promise.all([oldReader.kill(), oldSink.kill()]);
      else await Promise.all([oldReader.stop(), oldSink.stop()]);
      await reader.waitForLog('reader.streaming', { deadlineMs: 15_000 });
      const readerMs = Math.round(performance.now() - sinceMs);
      await waitOwned(sink, 12);
      const sinkMs = Math.round(performance.now() - sinceMs);
      console.info(`deploy (${round === 1 ? 'killed' : 'stopped'}): reader after ${readerMs} ms, sink ${sinkMs} ms`);
    }
    isDeploying = false;
    await load;
    await stage.requireClean(60_000);
    expect(halts([reader, sink])).toEqual([]);
  });

  it('goes on after a reader with default times was stopped like a zombie, within 15 s', async () => {
    stage = await createPipelineStage('default_times');
    const sink = await stage.startSink();
    const defaults = { WAL_SENDER_TIMEOUT_MS: '10000', TRANSACTION_TIMEOUT_MS: '60000' };
    const first = await stage.startStreaming({ more: defaults });
    const second = await stage.startReader({ more: defaults });
    await second.waitForLog('reader.standby', { deadlineMs: 30_000 });
    await stage.openCarts(1_000);
    const load = stage.load.pace({ first: 0, count: 600, ordersPerSecond: 30 });
    await sink.waitForLog('sink.applied', { deadlineMs: 60_000 });
    first.pause();
    const sinceMs = performance.now();
    await second.waitForLog('reader.streaming', { deadlineMs: 15_000 });
    console.info(`zombie reader, default times: taken over after ${Math.round(performance.now() - sinceMs)} ms`);
    await load;
    first.resume();
    await first.waitForLog('reader.standby', { deadlineMs: 30_000 });
    await stage.requireClean(60_000);
  });
});
