// Two readers for one slot: the second waits and has fenced nobody; when the first is gone, or stopped like a zombie,
// the second takes over, and the zombie can publish nothing when it wakes (fault class F).
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createTcpProxy } from '../../support/network/tcp-proxy.ts';
import { withServer } from '../../support/stack/environment.ts';
import { createPipelineStage, type PipelineStage } from '../../support/stack/pipeline-stage.ts';
import { waitPaused } from '../../support/stack/start-services.ts';
import { waitFor } from '../../support/wait.ts';

describe('two readers', () => {
  let stage: PipelineStage;
  beforeEach(async () => {
    stage = await createPipelineStage('reader_takeover');
  });
  afterEach(() => stage.cleanUp());

  it('fence no healthy one: the second stands by, ready, and takes over when the first is killed', async () => {
    const first = await stage.startStreaming();
    const beforeSecond = first.logs.length;
    const second = await stage.startReader();
    await second.waitForLog('reader.standby');
    await second.waitReady();
    expect((await second.ready()).body.state).toBe('standby');
    await stage.load.pace({ first: 0, count: 100, ordersPerSecond: 50 });
    expect(first.logs.slice(beforeSecond).filter(({ event }) => event === 'reader.restarting')).toEqual([]);
    expect(second.logs.filter(({ event }) => event === 'reader.streaming')).toEqual([]);
    // It names whom it waits for, and has seen that one publish.
    const health = await waitFor('the other reader to be seen to move', async () => {
      const response = await fetch(`${second.url}/health/pipeline`);
      const body = (await response.json()) as Record<string, string | null>;
      return body.confirmedFlushLsnMovedAt === null ? undefined : { status: response.status, body };
    });
    expect(health).toMatchObject({ status: 200, body: { state: 'standby', confirmedFlushLsn: expect.any(String) } });
    expect(health.body.reason).toMatch(/walsender pid \d+ \(application_name \S+, address 127\.0\.0\.1, since 2\d{3}-/);
    const load = stage.load.pace({ first: 100, count: 100, ordersPerSecond: 50 });
    await first.kill();
    await second.waitForLog('reader.streaming', { deadlineMs: 15_000 });
    await load;
    await stage.requireClean();
  });

  it('publish nothing twice when the first is stopped in the middle of a Kafka transaction and wakes as a zombie', async () => {
    const first = await stage.startStreaming({ failpoints: 'reader.before-commit=pause:3' });
    const load = stage.load.pace({ first: 0, count: 200, ordersPerSecond: 50 });
    await waitPaused(first, 'reader.before-commit');
    first.pause();
    const second = await stage.startReader();
    await second.waitForLog('reader.streaming', { deadlineMs: 15_000 });
    // The zombie goes on to its commit, which the fence refuses; then it finds the slot taken and stands by.
    process.kill(first.pid, 'SIGUSR2');
    first.resume();
    await first.waitForLog('reader.standby');
    expect(
      (
        await waitFor('the zombie to count its restart', async () => {
          const restarts = [...(await first.metrics())].filter(([name]) =>
            name.startsWith('tillstream_reader_restarts'),
          );
          return restarts.length > 0 ? restarts : undefined;
        })
      ).length,
    ).toBeGreaterThan(0);
    await load;
    await stage.requireClean();
  });

  // Behind a network that swallows everything, it has lost its slot without a word, and still has a way to Kafka. It has
  // no transaction open, whose timeout would stop it too: only the fence does.
  it('publish nothing twice when the first does not learn that it has been succeeded', async () => {
    const url = new URL(stage.environment.env.ORDER_DATABASE_URL);
    const proxy = await createTcpProxy({ targetPort: Number(url.port) });
    url.port = String(proxy.port);
    try {
      const more = { ORDER_DATABASE_URL: url.href, WAL_SENDER_TIMEOUT_MS: '60000' };
      const first = await stage.startStreaming({ failpoints: 'reader.before-send=pause:3', more });
      const second = await stage.startReader();
      await second.waitForLog('reader.standby');
      const load = stage.load.pace({ first: 0, count: 100, ordersPerSecond: 50 });
      await waitPaused(first, 'reader.before-send');
      proxy.pause();
      await withServer(stage.environment.env.ORDER_DATABASE_URL, (client) =>
        client.query('SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = $1', [
          stage.environment.env.SLOT_NAME,
        ]),
      );
      await second.waitForLog('reader.streaming', { deadlineMs: 15_000 });
      await load;
      await stage.oracle.waitUntilDrained(20_000);
      expect(first.logs.filter(({ event }) => event === 'reader.restarting')).toEqual([]);
      const inFlightBytes = async () => (await first.metrics()).get('tillstream_reader_in_flight_bytes') ?? 0;
      expect(await inFlightBytes()).toBeGreaterThan(0);
      process.kill(first.pid, 'SIGUSR2');
      await waitFor('what was in flight to be published or given up', async () => (await inFlightBytes()) === 0);
      proxy.cut();
      proxy.resume();
      const refused = await first.waitForLog('reader.restarting');
      expect(JSON.stringify(refused)).toMatch(/PRODUCER_FENCED/);
      await first.waitForLog('reader.standby');
      await stage.requireClean();
    } finally {
      proxy.close();
    }
  });

  /** Starts both at once, and waits until one streams and the other stands by; neither may have shut the other out. */
  const startTogether = async (): Promise<void> => {
    const readers = await Promise.all([stage.startReader(), stage.startReader()]);
    const states = async () => {
      const found = await Promise.all(readers.map(async (reader) => (await reader.ready()).body.state));
      return found.sort().join();
    };
    await waitFor('one to stream, one to stand by', async () => (await states()) === 'standby,streaming', {
      deadlineMs: 30_000,
    });
    await stage.load.pace({ first: 1_500, count: 50, ordersPerSecond: 50 });
    await stage.requireClean();
    expect(await states()).toBe('standby,streaming');
    const restarts = readers.flatMap(({ logs }) => logs.filter(({ event }) => event === 'reader.restarting'));
    expect(restarts.filter((entry) => JSON.stringify(entry).includes('PRODUCER_FENCED'))).toEqual([]);
    const streaming = readers.map(({ logs }) => logs.filter(({ event }) => event === 'reader.streaming').length);
    expect(streaming.sort()).toEqual([0, 1]);
  };

  it('started at the same moment on an empty database do one first start, and none shuts the other out', async () => {
    await stage.load.backlog({ first: 0, count: 1_500 });
    await startTogether();
  });

  it('started at the same moment from a checkpoint share one start, and none shuts the other out', async () => {
    const earlier = await stage.startStreaming();
    await stage.load.backlog({ first: 0, count: 1_400 });
    await stage.requireClean();
    await earlier.stop();
    await stage.load.backlog({ first: 1_400, count: 100 });
    await startTogether();
  });
});
