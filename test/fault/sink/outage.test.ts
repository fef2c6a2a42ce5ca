// What the sink does when the carts database or Kafka goes away, for a moment or for longer than any session, and when
// the answer to a COMMIT is lost: it comes back by itself, and no order takes effect twice or never (I3, I6, I8).

import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, describe, expect, inject, test } from 'vitest';
import { createLocalKafka } from '../../../dev/servers/local-kafka.ts';
import { createLocalPostgres } from '../../../dev/servers/local-postgres.ts';
import { createTcpProxy, type TcpProxy } from '../../support/network/tcp-proxy.ts';
import { createTestDirectory, removeTestDirectory } from '../../support/process/test-directory.ts';
import { createSinkStage, type SinkStage, sumOf } from '../../support/stack/sink-stage.ts';
import { waitFor } from '../../support/wait.ts';

const users = Array.from({ length: 24 }, (_, index) => `user-${index}`);
const atEnd: (() => unknown)[] = [];
let stage: SinkStage;

afterEach(async () => {
  await stage.cleanUp();
  for (const end of atEnd.splice(0).reverse()) await end();
});

/** It comes back by itself within seconds. */
async function timed(what: string, deadlineMs = 20_000): Promise<void> {
  const sinceMs = performance.now();
  await stage.waitDrained(deadlineMs);
  console.info(`${what}: drained within ${Math.round(performance.now() - sinceMs)} ms`);
}

/** The carts database of the stage, for the sink alone, through a proxy. */
async function proxyCarts(): Promise<{ proxy: TcpProxy; url: string }> {
  const url = new URL(stage.environment.env.CART_DATABASE_URL);
  const proxy = await createTcpProxy({ targetPort: Number(url.port) });
  atEnd.push(() => proxy.close());
  url.port = String(proxy.port);
  return { proxy, url: url.href };
}

describe('a connection that is cut when COMMIT was sent', () => {
  test.each([
    { name: 'before the server has it: the batch is applied again', reaches: false },
    { name: 'after the server has it: the batch is not applied again', reaches: true },
  ])('$name', async ({ reaches }) => {
    stage = await createSinkStage('sink_commit_cut');
    await stage.createTopics();
    const { proxy, url } = await proxyCarts();
    const sink = await stage.startSink({ more: { CART_DATABASE_URL: url } });
    await stage.fillCarts(users);
    await stage.publish(users);
    await stage.waitDrained();
    // Joining a group of a broker that has just started may take more than one try.
    const restarts = await sumOf(sink, 'tillstream_sink_restarts_total');
    let cuts = 0;
    const dying = new Set<number>();
    proxy.onClientData((data, connection) => {
      // The statement itself: BEGIN says READ COMMITTED.
      if (cuts >= 3 || !data.includes('COMMIT\0')) return data;
      cuts += 1;
      if (!reaches) return { forward: Buffer.alloc(0), rest: 'cut' };
      dying.add(connection.id);
      return data;
    });
    // The server's answer shows that it has committed; it never arrives.
    proxy.onServerData((data, connection) =>
      dying.has(connection.id) ? { forward: Buffer.alloc(0), rest: 'cut' } : data,
    );
    for (let round = 0; round < 10; round += 1) {
      await stage.publish(users);
      await delay(100);
    }
    await stage.waitDrained();
    await stage.requireAppliedOnce();
    expect(cuts).toBe(3);
    const retries = [...(await sink.metrics())].filter(([key]) => key.startsWith('tillstream_sink_retries_total{'));
    expect(retries).toEqual([[expect.stringContaining('reason="outcome-unknown"'), 3]]);
    expect(await sumOf(sink, 'tillstream_sink_duplicates_total')).toBe(0);
    expect(await sumOf(sink, 'tillstream_sink_restarts_total')).toBe(restarts);
  });
});

describe('the carts database', () => {
  test('that answers nothing for longer than a session is waited for, without losing the partitions', async () => {
    stage = await createSinkStage('sink_db_silent');
    await stage.createTopics();
    const { proxy, url } = await proxyCarts();
    const sink = await stage.startSink({ more: { CART_DATABASE_URL: url } });
    await stage.fillCarts(users);
    await stage.publish(users);
    await stage.waitDrained();
    proxy.pause();
    await stage.publish(users);
    await delay(9_000);
    expect(sink.logs.filter(({ event }) => event === 'sink.assigned')).toHaveLength(1);
    expect((await sink.ready()).status).toBe(503);
    proxy.resume();
    await stage.publish(users);
    await timed('carts database silent');
    await stage.requireAppliedOnce();
    expect((await sink.ready()).status).toBe(200);
  });

  test('that is silent, at the start or in the midst of a batch, does not keep the sink from stopping', async () => {
    stage = await createSinkStage('sink_db_silent_stop');
    await stage.createTopics();
    const { proxy, url } = await proxyCarts();
    proxy.pause();
    const early = await stage.environment.startService('cart-sink', { CART_DATABASE_URL: url });
    await early.waitForLog('service.listening');
    await waitFor('the migration to begin', () => proxy.connections.length > 0);
    expect((await early.stop()).code).toBe(0);

    proxy.resume();
    const sink = await stage.startSink({ more: { CART_DATABASE_URL: url } });
    await stage.fillCarts(users);
    await stage.publish(users);
    await stage.waitDrained();
    const silence = Promise.withResolvers<void>();
    proxy.onClientData((data) => {
      // Prepared by now, so that a batch names its statements and does not send their texts.
      if (!/\0tillstream_\d+\0/.test(data.toString('latin1'))) return data;
      proxy.pause();
      silence.resolve();
      return data;
    });
    await stage.publish(users);
    await silence.promise;
    expect((await sink.stop()).code).toBe(0);

    proxy.onClientData(undefined);
    proxy.cut();
    proxy.resume();
    await stage.startSink({ more: { CART_DATABASE_URL: url } });
    await stage.waitDrained();
    await stage.requireAppliedOnce();
  });

  test('that is killed, restarted, and stopped while the sink starts, is waited for', async () => {
    const { brokers, directBrokers, orderServerUrl } = inject('servers');
    const directory = createTestDirectory('sink-postgres');
    atEnd.push(() => removeTestDirectory(directory));
    const postgres = await createLocalPostgres({ directory });
    atEnd.push(() => postgres.close());
    await postgres.start();
    stage = await createSinkStage('sink_db_restart', {
      orderServerUrl,
      cartServerUrl: postgres.url('postgres'),
      brokers,
      directBrokers,
    });
    await stage.createTopics();
    const sink = await stage.startSink();
    await stage.fillCarts(users);
    await stage.publish(users);
    await postgres.restart('immediate');
    await stage.publish(users);
    await timed('carts database restarted');
    await postgres.kill();
    await stage.publish(users);
    await delay(2_000);
    await postgres.start();
    await stage.publish(users);
    await timed('carts database killed');
    await stage.requireAppliedOnce();
    await sink.stop();

    await postgres.stop('fast');
    const early = await stage.environment.startService('cart-sink', { SESSION_TIMEOUT_MS: '6000' });
    await waitFor('the sink to listen and say that it is not ready', async () => (await early.ready()).status === 503);
    await stage.publish(users);
    await postgres.start();
    await early.waitReady();
    await timed('carts database started after the sink');
    await stage.requireAppliedOnce();
  });
});

test('Kafka that falls silent between the look for the topics and the group does not keep the sink from stopping', async () => {
  stage = await createSinkStage('sink_kafka_silent');
  const proxy = await createTcpProxy({
    targetPort: Number(new URL(`http://${stage.environment.env.KAFKA_BROKERS}`).port),
  });
  atEnd.push(() => proxy.close());
  const sink = await stage.startSink({ more: { KAFKA_BROKERS: `127.0.0.1:${proxy.port}` } });
  await sink.waitForLog('sink.waiting-for-topics');
  const known = new Set(proxy.connections.map(({ id }) => id));
  const silence = Promise.withResolvers<void>();
  proxy.onClientData((data, { id }) => {
    if (known.has(id)) return data;
    silence.resolve();
    return 'hold';
  });
  await stage.createTopics();
  await silence.promise;
  expect((await sink.stop()).code).toBe(0);
});

// Five starts and recoveries of a broker.
const manyRestartsMs = 300_000;

test('Kafka that is killed, and away for longer than a session, is waited for', {
  timeout: manyRestartsMs,
}, async () => {
  const { orderServerUrl, cartServerUrl } = inject('servers');
  const directory = createTestDirectory('sink-kafka');
  atEnd.push(() => removeTestDirectory(directory));
  const kafka = await createLocalKafka({ directory });
  atEnd.push(() => kafka.kill());
  await kafka.start();
  stage = await createSinkStage('sink_kafka', {
    orderServerUrl,
    cartServerUrl,
    brokers: kafka.bootstrap,
    directBrokers: kafka.directBootstrap,
  });
  await stage.createTopics();
  const sink = await stage.startSink();
  await stage.fillCarts(users);
  await stage.publish(users);
  // Not while markers are being written: the only broker of a cluster forgets them (docs/failures.md, "Gotchas").
  await stage.waitDrained();
  await kafka.kill();
  await delay(15_000);
  const { status, body } = await sink.ready();
  expect(status).toBe(200);
  expect(body.pipeline).toMatch(/^(restarting|starting|joining|consuming)$/);
  await kafka.start();
  await stage.publish(users);
  await timed('Kafka away for 15 s', 30_000); // sessions end first, and back-offs have grown
  await stage.requireAppliedOnce();
  await stage.waitDrained();

  await kafka.kill();
  await kafka.start();
  await stage.publish(users);
  await timed('Kafka restarted');
  await stage.requireAppliedOnce();
  // Stopping must not wait for brokers that are not there.
  await kafka.kill();
  expect((await sink.stop()).code).toBe(0);
  await kafka.start();
  await stage.waitGroupEmpty();
});
