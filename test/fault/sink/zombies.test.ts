// Sinks stopped (SIGSTOP) at exact points and woken after a successor has taken over, killed and stopped in the midst of a
// rebalance, and readers and sinks of two versions side by side during a rolling deploy. A zombie changes nothing, and
// with default times it is succeeded within 15 s (I3, I6, I8; faults B and F). Others stopped, idle or in the midst of a
// statement: stopped.test.ts.
import { afterEach, describe, expect, it } from 'vitest';
import type { Service } from '../../support/process/service-process.ts';
import { createPipelineStage, type PipelineStage } from '../../support/stack/pipeline-stage.ts';
import { waitFor } from '../../support/wait.ts';

let stage: PipelineStage;
afterEach(() => stage.cleanUp());

const partitionsOf = async (sink: Service) => (await sink.ready()).body.partitions as readonly unknown[];
const waitOwned = (sink: Service, count: number, deadlineMs = 60_000) =>
  waitFor(`the sink to own ${count} partitions`, async () => (await partitionsOf(sink)).length === count, {
    deadlineMs,
    everyMs: 100,
  });
/** A takeover with default times, however the one before has ended. */
const takeoverMs = 15_000;
const waitPaused = (sink: Service) => sink.waitForLog('failpoint.paused', { deadlineMs: 60_000 });
const halts = (services: readonly Service[]) =>
  services.flatMap(({ logs }) => logs.filter(({ event }) => event === 'pipeline.halted'));

describe('a sink stopped and woken after its successor has taken over', () => {
  it.each(['sink.after-poll', 'sink.before-commit', 'sink.after-commit'])(
    'changes nothing any more: %s',
    async (failpoint) => {
      stage = await createPipelineStage('zombie', { carts: true });
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
    stage = await createPipelineStage('rebalance', { carts: true });
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

describe('a sink that has taken its partitions over in the database, and fetched nothing yet,', () => {
  /** The joining sink takes over once, the owning one for the second time when the other has joined. */
  const startBoth = async (who: string, action: 'kill' | 'pause') => {
    stage = await createPipelineStage('taken_over', { carts: true });
    await stage.startStreaming();
    const start = (failpoints?: string) =>
      stage.environment.startService('cart-sink', { SESSION_TIMEOUT_MS: '6000' }, { failpoints });
    const owning = await start(who === 'owning' ? `sink.taken-over=${action}:2` : undefined);
    await owning.waitReady();
    await stage.openCarts(1_200);
    await waitOwned(owning, 12);
    const load = stage.load.pace({ first: 0, count: 600, ordersPerSecond: 60 });
    // Not waited for to be ready: it may not live that long.
    const joining = await start(who === 'joining' ? `sink.taken-over=${action}` : undefined);
    const [victim, left] = who === 'joining' ? [joining, owning] : [owning, joining];
    return { victim, left, load };
  };
  const requireAssigned = (victim: Service, times: number) =>
    expect(victim.logs.filter(({ event }) => event === 'sink.assigned')).toHaveLength(times);

  it.each(['joining', 'owning'])('and is killed, is succeeded by the other: the %s one', async (who) => {
    const { victim, left, load } = await startBoth(who, 'kill');
    expect((await victim.exited).signal).toBe('SIGKILL');
    const sinceMs = performance.now();
    requireAssigned(victim, who === 'joining' ? 0 : 1);
    await waitOwned(left, 12);
    console.info(`taken over and killed (${who}): all owned ${Math.round(performance.now() - sinceMs)} ms later`);
    await load;
    await stage.requireClean(60_000);
    expect(halts([left])).toEqual([]);
  });

  it.each(['joining', 'owning'])(
    'and is stopped beyond its session, applies nothing when it wakes: the %s one',
    async (who) => {
      const { victim, left, load } = await startBoth(who, 'pause');
      await waitPaused(victim);
      victim.pause();
      const sinceMs = performance.now();
      requireAssigned(victim, who === 'joining' ? 0 : 1);
      await waitOwned(left, 12);
      console.info(`taken over and stopped (${who}): all owned ${Math.round(performance.now() - sinceMs)} ms later`);
      await load;
      await stage.oracle.waitUntilDrained(60_000);
      // It wakes with epochs in hand that are not the last any more, and fetches with them.
      const from = victim.logs.length;
      const more = stage.load.pace({ first: 600, count: 600, ordersPerSecond: 100 });
      process.kill(victim.pid, 'SIGUSR2');
      victim.resume();
      await victim.waitForLog('sink.assigned', { deadlineMs: 60_000, from });
      await Promise.all([waitOwned(victim, 6), waitOwned(left, 6)]);
      await more;
      await stage.requireClean(60_000);
      expect(halts([victim, left])).toEqual([]);
    },
  );
});

describe('a sink with default times', () => {
  /** Nothing is set that docs/configuration.md has a default for, but a failpoint. */
  const startSink = async (failpoints?: string): Promise<Service> => {
    const sink = await stage.environment.startService('cart-sink', {}, { failpoints });
    await sink.waitReady();
    return sink;
  };

  it.each([
    ['between two orders', 'beside it', undefined],
    ['between two orders', 'started when it stops', undefined],
    ['with a transaction open', 'beside it', 'sink.before-commit=pause:6'],
  ])('that is stopped %s is succeeded within 15 s by one %s, and comes back clean', async (_, where, failpoints) => {
    stage = await createPipelineStage('default_sinks', { carts: true });
    await stage.startStreaming();
    const zombie = await startSink(failpoints);
    await stage.openCarts(1_500);
    await waitOwned(zombie, 12);
    const beside = where === 'beside it' ? await startSink() : undefined;
    if (beside !== undefined) await waitOwned(beside, 6);
    const load = stage.load.pace({ first: 0, count: 1_000, ordersPerSecond: 50 });
    if (failpoints === undefined) await zombie.waitForLog('sink.applied', { deadlineMs: 30_000 });
    else await waitPaused(zombie);
    zombie.pause();
    const sinceMs = performance.now();
    const successor = beside ?? (await startSink());
    await waitOwned(successor, 12, takeoverMs - (performance.now() - sinceMs));
    console.info(`sink stopped, successor ${where}: all owned ${Math.round(performance.now() - sinceMs)} ms later`);
    await load;
    await stage.oracle.waitUntilDrained(60_000);
    const from = zombie.logs.length;
    if (failpoints !== undefined) process.kill(zombie.pid, 'SIGUSR2');
    zombie.resume();
    await zombie.waitForLog('sink.assigned', { deadlineMs: 60_000, from });
    await Promise.all([waitOwned(zombie, 6), waitOwned(successor, 6)]);
    await stage.load.pace({ first: 1_000, count: 200, ordersPerSecond: 100 });
    await stage.requireClean(60_000);
    expect(halts([zombie, successor])).toEqual([]);
  });
});

// Three takeovers with default times.
describe('a rolling deploy', { timeout: 300_000 }, () => {
  it('starts new readers and sinks beside the old ones: no ping-pong, and nothing twice or never', async () => {
    stage = await createPipelineStage('deploy', { carts: true });
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
      const elapsedMs = () => Math.round(performance.now() - sinceMs);
      const [readerMs, sinkMs] = await Promise.all([
        reader.waitForLog('reader.streaming', { deadlineMs: takeoverMs }).then(elapsedMs),
        waitOwned(sink, 12, takeoverMs).then(elapsedMs),
      ]);
      console.info(`deploy (${round === 1 ? 'killed' : 'stopped'}): reader after ${readerMs} ms, sink ${sinkMs} ms`);
    }
    isDeploying = false;
    await load;
    await stage.requireClean(60_000);
    expect(halts([reader, sink])).toEqual([]);
  });

  it('goes on after a reader with default times was stopped like a zombie, within 15 s', async () => {
    stage = await createPipelineStage('default_times', { carts: true });
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
    await second.waitForLog('reader.streaming', { deadlineMs: takeoverMs });
    console.info(`zombie reader, default times: taken over after ${Math.round(performance.now() - sinceMs)} ms`);
    await load;
    first.resume();
    await first.waitForLog('reader.standby', { deadlineMs: 30_000 });
    await stage.requireClean(60_000);
  });
});
