// Requests and answers between reader and broker that are lost, late, or cut off with everything else, forced frame by
// frame by a proxy that nobody else uses. Head on: the answer to EndTxn is lost, after the commit and instead of it. The
// checkpoint tells which it was, and nothing is published twice or never (I1, I4, I5, I8; faults C).
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest';
import { cutRequest, loseAnswer } from '../../support/kafka/fixture.ts';
import { kafkaApi } from '../../support/kafka/frames.ts';
import { type ProxiedKafka, startProxiedKafka } from '../../support/kafka/proxied-kafka.ts';
import type { TcpProxy } from '../../support/network/tcp-proxy.ts';
import { readTopic } from '../../support/oracle/read-topic.ts';
import type { Service } from '../../support/process/service-process.ts';
import { createTestDirectory, removeTestDirectory } from '../../support/process/test-directory.ts';
import { withServer } from '../../support/stack/environment.ts';
import { createPipelineStage, type PipelineStage } from '../../support/stack/pipeline-stage.ts';
import { waitPaused } from '../../support/stack/start-services.ts';
import { waitFor } from '../../support/wait.ts';

/** Kafka's part of an answer to an unanswered request: the reader gives one up after the transaction timeout. */
const quick = { TRANSACTION_TIMEOUT_MS: '2000', IDLE_CHECKPOINT_MS: '60000' };

describe('between reader and Kafka', () => {
  let directory: string;
  let proxied: ProxiedKafka;
  let proxy: TcpProxy;
  let stage: PipelineStage;

  beforeAll(async () => {
    directory = createTestDirectory('kafka-answers');
    proxied = await startProxiedKafka({
      directory,
      settings: { 'transaction.abort.timed.out.transaction.cleanup.interval.ms': '500' },
    });
    proxy = proxied.proxies[0]!;
  });
  afterAll(async () => {
    await proxied?.close();
    removeTestDirectory(directory);
  });
  beforeEach(async () => {
    const { orderServerUrl, cartServerUrl } = inject('servers');
    const { bootstrap: brokers, directBootstrap: directBrokers } = proxied.kafka;
    stage = await createPipelineStage('answers', {
      servers: { orderServerUrl, cartServerUrl, brokers, directBrokers },
    });
  });
  afterEach(async () => {
    proxy.onClientData(undefined);
    proxy.onServerData(undefined);
    proxy.resume();
    proxy.release();
    await proxy.accept();
    await stage.cleanUp();
  });

  const restartsOf = (reader: Service) =>
    reader.logs.filter(({ event }) => event === 'reader.restarting').map(({ err }) => (err as { code?: string }).code);
  /** Committed, aborted and open records of the live topic. */
  const outcomes = async () => {
    const { env, servers } = stage.environment;
    const live = await readTopic({
      brokers: servers.directBrokers.split(','),
      topic: env.ORDERS_TOPIC,
      deadlineMs: 30_000,
    });
    const count = (outcome: string) =>
      live.flatMap(({ records }) => records.filter((record) => record.outcome === outcome)).length;
    return { committed: count('committed'), aborted: count('aborted'), open: count('open') };
  };
  /** The server process that streams from the slot. */
  const slotHolder = () =>
    withServer(stage.environment.env.ORDER_DATABASE_URL, async (client) => {
      const text = 'SELECT active_pid FROM pg_replication_slots WHERE slot_name = $1';
      const { rows } = await client.query<{ active_pid: number | null }>(text, [stage.environment.env.SLOT_NAME]);
      return rows[0]!.active_pid;
    });
  const startIdle = async (more: Record<string, string> = {}): Promise<Service> => {
    const reader = await stage.startStreaming({ more: { ...quick, ...more } });
    await stage.load.place(0);
    await stage.requireClean();
    return reader;
  };
  const timed = async (what: string): Promise<void> => {
    const sinceMs = performance.now();
    await stage.requireClean(20_000);
    console.info(`${what}: drained within ${Math.round(performance.now() - sinceMs)} ms`);
  };

  it('EndTxn that Kafka never sees has committed nothing: the orders are published again', async () => {
    const reader = await startIdle();
    const fault = cutRequest(proxy, kafkaApi.endTxn);
    await stage.load.place(1);
    await waitFor('the request to be cut', () => fault.seen() > 0);
    fault.stop();
    await timed('EndTxn lost');
    expect(restartsOf(reader)[0]).toBe('PUBLISH_OUTCOME_UNKNOWN');
    expect(await outcomes()).toEqual({ committed: 2, aborted: fault.seen(), open: 0 });
  });

  it.each(['cut', 'hold'] as const)(
    'EndTxn that Kafka has done, with its answer lost (%s), is not done again',
    async (how) => {
      const reader = await startIdle();
      const fault = loseAnswer(proxy, kafkaApi.endTxn, how);
      await stage.load.place(1);
      await waitFor('the answer to be lost', () => fault.lost() > 0);
      fault.stop();
      await stage.load.pace({ first: 2, count: 20, ordersPerSecond: 50 });
      await timed(`answer to EndTxn lost (${how})`);
      // What was held comes at last, on a connection that nobody listens to any more.
      proxy.release();
      await stage.load.place(22);
      await stage.requireClean();
      expect(restartsOf(reader)[0]).toBe('PUBLISH_OUTCOME_UNKNOWN');
      expect(await outcomes()).toEqual({ committed: 23, aborted: 0, open: 0 });
    },
  );

  it('EndTxn answered late, but in time, costs nothing but the time', async () => {
    const reader = await startIdle({ TRANSACTION_TIMEOUT_MS: '20000' });
    const fault = loseAnswer(proxy, kafkaApi.endTxn, 'hold');
    const load = stage.load.pace({ first: 1, count: 100, ordersPerSecond: 50 });
    await waitFor('the answer to be held', () => fault.lost() > 0);
    fault.stop();
    await load;
    expect((await outcomes()).committed).toBeLessThan(101);
    proxy.release();
    await stage.requireClean();
    expect(restartsOf(reader)).toEqual([]);
    expect(await outcomes()).toEqual({ committed: 101, aborted: 0, open: 0 });
  });

  it.each([
    ['Produce', kafkaApi.produce],
    ['AddPartitionsToTxn', kafkaApi.addPartitionsToTxn],
  ])('the answer to %s lost, and the request lost, publish nothing twice', async (_, api) => {
    await startIdle();
    for (const [index, lose] of [loseAnswer, cutRequest].entries()) {
      const fault = lose(proxy, api);
      const load = stage.load.pace({ first: 1 + index * 50, count: 50, ordersPerSecond: 100 });
      await waitFor('a frame to be lost', () => fault.seen() > 1, { deadlineMs: 20_000 });
      fault.stop();
      await load;
      await timed('a frame lost');
    }
  });

  it('the answer to InitProducerId lost lets the reader start all the same', async () => {
    const fault = loseAnswer(proxy, kafkaApi.initProducerId);
    const reader = await stage.startReader({ more: quick });
    await waitFor('the answer to be lost', () => fault.lost() > 1, { deadlineMs: 30_000 });
    fault.stop();
    await reader.waitForLog('reader.streaming', { deadlineMs: 20_000 });
    await stage.load.pace({ first: 0, count: 20, ordersPerSecond: 50 });
    await stage.requireClean();
  });

  it.each([
    ['nothing passes in either direction', () => proxy.pause()],
    [
      'connections are cut and refused',
      () => {
        proxy.refuse();
        proxy.cut();
      },
    ],
    ['Kafka gets everything, and no answer arrives', () => proxy.onServerData(() => 'hold')],
  ])('a partition of the reader alone (%s) is waited for with the slot held', async (_, begin) => {
    const reader = await startIdle();
    const failed = await slotHolder();
    const load = stage.load.pace({ first: 1, count: 200, ordersPerSecond: 50 });
    begin();
    await reader.waitForLog('reader.restarting', { deadlineMs: 30_000 });
    // The failed producer takes its stream with it. From the next start on the slot is held, by one and the same session.
    const holder = await waitFor(
      'the slot to be held again',
      async () => {
        const pid = await slotHolder();
        return pid !== failed && pid;
      },
      { deadlineMs: 30_000 },
    );
    await load;
    expect((await reader.ready()).status).toBe(503);
    proxy.onServerData(undefined);
    proxy.resume();
    proxy.release();
    await proxy.accept();
    await timed('partition of the reader ended');
    expect(await slotHolder()).toBe(holder);
    expect(reader.logs.filter(({ event }) => event === 'reader.standby')).toEqual([]);
  });

  it('a reader stopped beyond the transaction timeout has published nothing of it, and goes on when it wakes', async () => {
    const reader = await stage.startStreaming({ failpoints: 'reader.before-commit=pause:6', more: quick });
    const load = stage.load.pace({ first: 0, count: 100, ordersPerSecond: 50 });
    await waitPaused(reader, 'reader.before-commit');
    reader.pause();
    const open = (await outcomes()).open;
    expect(open).toBeGreaterThan(0);
    await load;
    await waitFor('Kafka to abort the transaction', async () => (await outcomes()).open === 0, { deadlineMs: 30_000 });
    expect((await outcomes()).aborted).toBe(open);
    process.kill(reader.pid, 'SIGUSR2');
    reader.resume();
    await timed('reader woken after its transaction timeout');
    expect(restartsOf(reader).length).toBeGreaterThan(0);
  });
});
