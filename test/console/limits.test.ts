// The console where there is more to show, or less: Kafka away, 48 partitions on a phone, an open transaction of a stranger.
import type { Browser } from 'playwright-core';
import { afterAll, afterEach, beforeAll, describe, expect, inject, it } from 'vitest';
import { createTransactionalProducer } from '#kafka/producer/transactional-producer.ts';
import { plainServers } from '#kafka/servers.ts';
import { silentLogger } from '../support/kafka/admin.ts';
import { recordsFor } from '../support/kafka/fixture.ts';
import { startProxiedKafka } from '../support/kafka/proxied-kafka.ts';
import { createTestDirectory, removeTestDirectory } from '../support/process/test-directory.ts';
import { startBrowser } from './browser.ts';
import { type ConsoleStage, createConsoleStage, read, shoot, textOf, widthsOf } from './stage.ts';

let browser: Browser;
let stage: ConsoleStage | undefined;
beforeAll(async () => {
  browser = await startBrowser();
});
afterAll(() => browser?.close());
afterEach(async () => {
  await stage?.cleanUp();
  stage = undefined;
});

describe('the console', () => {
  it('shows all panels and their age while Kafka is away, names it, and says when it is over', async () => {
    const directory = createTestDirectory('console-kafka');
    const proxied = await startProxiedKafka({ directory });
    try {
      const { bootstrap: brokers, directBootstrap: directBrokers } = proxied.kafka;
      stage = await createConsoleStage(browser, { servers: { ...inject('servers'), brokers, directBrokers } });
      const { load, services } = stage;
      const viewer = await stage.open();
      await load.backlog({ first: 0, count: 20 });
      await read(viewer, '#verdict-title', /^(idle|in step)$/);
      await read(viewer, '#safety', /No open Kafka transaction/);
      const [proxy] = proxied.proxies;
      proxy!.refuse();
      proxy!.cut();
      await load.backlog({ first: 20, count: 20 });
      await read(viewer, '#verdict-title', /(cdc-reader|cart-sink) (tries again|waits)/, 60_000);
      await read(viewer, '#safety', /As of [\s\S]*reserved[\s\S]*not read yet, or Kafka does not answer/, 60_000);
      const before = await textOf(viewer, '#connection');
      expect(before).toMatch(/^live, as of/);
      // Every second, whatever is away.
      await read(viewer, '#connection', new RegExp(`^live, as of (?!${before.slice('live, as of '.length)}$)`), 5_000);
      expect(await textOf(viewer, '#ladder')).toMatch(/written\s+[0-9A-F]+\/[0-9A-F]+/);
      expect(await textOf(viewer, '#attention')).toMatch(/No partition is halted/);
      expect(await textOf(viewer, '#services')).not.toMatch(/away:/);
      await shoot(viewer, 'kafka-away');
      expect(await viewer.findBarriers()).toEqual([]);
      await proxy!.accept();
      await read(viewer, '#verdict-title', /^(idle|in step)$/, 90_000);
      await read(viewer, '#events', /(tries again|waits)/);
      expect((await services.reader.ready()).status).toBe(200);
      expect(viewer.complaints).toEqual([]);
    } finally {
      await stage?.cleanUp().finally(() => {
        stage = undefined;
      });
      await proxied.close();
      removeTestDirectory(directory);
    }
  });

  it('stays usable on a phone with 48 partitions, and tells who owns them since its own start', async () => {
    stage = await createConsoleStage(browser, { reader: { TOPIC_PARTITIONS: '48' } });
    const { environment, load, services } = stage;
    const viewer = await stage.open({ width: 390 });
    await load.backlog({ first: 0, count: 200 });
    await read(viewer, '#verdict-title', /^(idle|in step)$/, 60_000);
    const owned = new RegExp(`${environment.env.ORDERS_TOPIC} 0-47 · epoch (\\d+)`);
    const first = owned.exec(await read(viewer, '#services', owned, 60_000))![1]!;
    const [content, window] = await widthsOf(viewer);
    expect(content).toBeLessThanOrEqual(window);
    await shoot(viewer, 'phone-48-partitions');
    expect(await viewer.findBarriers()).toEqual([]);

    // The next owner has another epoch, and what has happened is there for who opens the page now.
    await services.sink.stop();
    await environment.startService('cart-sink', { PORT: new URL(services.sink.url).port });
    const later = await stage.open({ width: 390, colorScheme: 'dark' });
    await read(later, '#services', new RegExp(`0-47 · epoch (?!${first}$)\\d+$`, 'm'), 60_000);
    expect(await textOf(later, '#services')).toMatch(
      /Consuming 96 assigned partitions[\s\S]*holds the slot and publishes/,
    );
    expect(await textOf(later, '#events')).toMatch(/cart-sink .*: away → /);
    expect([...viewer.complaints, ...later.complaints]).toEqual([]);
  });

  it('names the open transaction that holds up the sinks, and whose it is not', async () => {
    stage = await createConsoleStage(browser);
    const { environment } = stage;
    const { KAFKA_BROKERS, ORDERS_TOPIC } = environment.env;
    const viewer = await stage.open();
    await read(viewer, '#safety', /No open Kafka transaction/);
    const stranger = await createTransactionalProducer({
      kafka: plainServers(KAFKA_BROKERS.split(',')),
      clientId: environment.id,
      transactionalId: `${environment.id}-stranger`,
      transactionTimeoutMs: 60_000,
      requestTimeoutMs: 10_000,
      logger: silentLogger,
    });
    try {
      const open = await stranger.begin();
      await open.send(recordsFor(ORDERS_TOPIC, 3, 1));
      const told = new RegExp(`1 partitions[\\s\\S]*3\\s+${stranger.producerId}, not this reader\\s+0\\s+\\d+\\s+\\d`);
      await read(viewer, '#safety', told);
      await shoot(viewer, 'open-transaction');
      await open.abort();
      await read(viewer, '#safety', /No open Kafka transaction/);
    } finally {
      await stranger.close();
    }
  });
});
