// The console in a real browser, over real services: what it says under load, at rest, and above all when something is away or
// halted; that its figures are those of the databases; and that it can be used by keyboard, on a phone and by a screen reader.
import { connect } from 'node:net';
import type { Browser } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { OrderLoad } from '../support/load/order-load.ts';
import { createTcpProxy } from '../support/network/tcp-proxy.ts';
import { type TestEnvironment, withServer } from '../support/stack/environment.ts';
import { startBrowser } from './browser.ts';
import { type ConsoleStage, createConsoleStage, read, shoot, textOf, widthsOf } from './stage.ts';

let browser: Browser;
let stage: ConsoleStage;
let environment: TestEnvironment;
let load: OrderLoad;
let services: ConsoleStage['services'];
let open: ConsoleStage['open'];

beforeAll(async () => {
  browser = await startBrowser();
});
afterAll(() => browser?.close());

beforeEach(async () => {
  stage = await createConsoleStage(browser);
  ({ environment, load, services, open } = stage);
});
afterEach(() => stage.cleanUp());

describe('the console', () => {
  it('says under load and at rest that all is in step, with the figures of the databases, and breaks no rule of a browser', async () => {
    const viewer = await open();
    const pace = load.pace({ first: 0, count: 300, ordersPerSecond: 50 });
    await read(viewer, '#verdict-title', /^in step$/);
    await read(viewer, '#latency', /published\s+\d\d\/s/);
    await shoot(viewer, 'load');
    await pace;
    await read(viewer, '#verdict-title', /^idle$/);
    const ladder = await read(viewer, '#ladder', /applied in carts\s+[0-9A-F]+\/[0-9A-F]+\s+0 B\s+0\s/);
    const applied = await withServer(environment.env.CART_DATABASE_URL, async (client) => {
      const { rows } = await client.query(
        'SELECT max(commit_lsn)::text AS lsn, count(*)::int AS count FROM applied_orders',
      );
      return rows[0] as { lsn: string; count: number };
    });
    const shown = /applied in carts\s+(\S+)/.exec(ladder)![1]!;
    const number = (lsn: string) => Number.parseInt(lsn.split('/')[1]!, 16);
    expect(number(shown)).toBeGreaterThanOrEqual(number(applied.lsn));
    expect(
      (await services.sink.metrics()).get(
        `tillstream_sink_orders_applied_total{topic="${environment.env.ORDERS_TOPIC}"}`,
      ),
    ).toBe(applied.count);
    expect(await textOf(viewer, '#services')).toMatch(
      /cdc-reader[\s\S]*streaming[\s\S]*order-api[\s\S]*cart-sink[\s\S]*12/,
    );
    expect(await viewer.findBarriers()).toEqual([]);
    expect(viewer.complaints).toEqual([]);
  });

  it('names who is away, since when, keeps the rest, and says when it is over', async () => {
    const viewer = await open();
    await read(viewer, '#verdict-title', /idle|in step/);
    const ladder = await textOf(viewer, '#ladder');
    services.sink.pause();
    await read(viewer, '#verdict-title', /cart-sink is away/);
    expect(await textOf(viewer, '#verdict-body')).toMatch(/no answer in time[\s\S]*since/);
    expect(await textOf(viewer, '#attention')).toMatch(/As of .*no answer in time[\s\S]*No event is parked/);
    expect(await textOf(viewer, '#ladder')).toMatch(/written\s+[0-9A-F]+\/[0-9A-F]+/);
    expect(ladder).toMatch(/written/);
    await shoot(viewer, 'sink-away');
    services.sink.resume();
    await read(viewer, '#verdict-title', /idle|in step/);
    expect(await textOf(viewer, '#events')).toMatch(/cart-sink is away/);
  });

  it('names the service whose database is away, on a wide page in the dark, and says when it is over', async () => {
    const database = new URL(environment.env.CART_DATABASE_URL);
    const proxy = await createTcpProxy({ targetHost: database.hostname, targetPort: Number(database.port) });
    database.hostname = '127.0.0.1';
    database.port = String(proxy.port);
    const { sink } = services;
    await sink.stop();
    const place = { PORT: new URL(sink.url).port, CART_DATABASE_URL: database.href };
    services.sink = await environment.startService('cart-sink', place);
    const viewer = await open({ colorScheme: 'dark' });
    try {
      await read(viewer, '#verdict-title', /^(idle|in step)$/, 60_000);
      proxy.refuse();
      proxy.cut();
      await load.backlog({ first: 0, count: 20 });
      await read(viewer, '#verdict-title', /cart-sink (tries again|waits)/, 60_000);
      expect(await textOf(viewer, '#services')).not.toMatch(/away/);
      await shoot(viewer, 'carts-database-away');
      expect(await viewer.findBarriers()).toEqual([]);
      await proxy.accept();
      await read(viewer, '#verdict-title', /^(idle|in step)$/, 60_000);
    } finally {
      proxy.close();
    }
  });

  it('names a halted partition and the command that repairs it', async () => {
    const viewer = await open();
    await withServer(environment.env.CART_DATABASE_URL, (client) =>
      client.query(
        "UPDATE consumer_offsets SET generation = 7, last_timeline = 1, last_commit_lsn = '0/1', last_ordinal = 0",
      ),
    );
    await load.backlog({ first: 0, count: 60 });
    await read(viewer, '#verdict-title', /halted: GENERATION_CHANGED/);
    expect(await textOf(viewer, '#verdict-body')).toMatch(/npm run adopt -- sink/);
    await shoot(viewer, 'halted');
    expect(await viewer.findBarriers()).toEqual([]);
  });

  it('dims its figures when the reader is gone, keeps them, and goes on when it is back', async () => {
    const viewer = await open();
    const { reader } = services;
    await read(viewer, '#verdict-title', /idle|in step/);
    await reader.kill();
    await read(viewer, '#connection', /connection lost; figures of/);
    expect(await viewer.page.locator('body').getAttribute('data-connection')).toBe('lost');
    expect(await textOf(viewer, '#ladder')).toMatch(/written\s+[0-9A-F]+\/[0-9A-F]+/);
    await shoot(viewer, 'connection-lost');
    const port = new URL(reader.url).port;
    const again = {
      PORT: port,
      ORDER_API_OPERATIONS_URL: services.api.url,
      CART_SINK_OPERATIONS_URLS: services.sink.url,
    };
    services.reader = await environment.startService('cdc-reader', again);
    await read(viewer, '#connection', /live/);
    await read(viewer, '#verdict-title', /idle|in step/);
  });

  it('finds an order by keyboard alone, on a phone, in the dark', async () => {
    const viewer = await open({ width: 390, colorScheme: 'dark' });
    await load.backlog({ first: 0, count: 1 });
    await read(viewer, '#verdict-title', /idle|in step/);
    const [order] = await withServer(environment.env.ORDER_DATABASE_URL, async (client) => {
      const { rows } = await client.query('SELECT order_id::text AS id FROM orders LIMIT 1');
      return rows as { id: string }[];
    });
    const { page } = viewer;
    for (let steps = 0; (await page.evaluate('document.activeElement.id')) !== 'find-what'; steps += 1) {
      expect(steps, 'the field is reached by Tab').toBeLessThan(40);
      await page.keyboard.press('Tab');
    }
    await page.keyboard.type(order!.id);
    await page.keyboard.press('Enter');
    await read(viewer, '#found', new RegExp(order!.id));
    const [content, window] = await widthsOf(viewer);
    expect(content).toBeLessThanOrEqual(window);
    await shoot(viewer, 'phone-dark');
    expect(await viewer.findBarriers()).toEqual([]);
    expect(viewer.complaints).toEqual([]);
  });

  it('goes on for the others when the connection of a viewer who did not read breaks', async () => {
    const { port, hostname } = new URL(services.reader.url);
    const idle = connect(Number(port), hostname);
    idle.pause();
    idle.write(`GET /console/events HTTP/1.1\r\nHost: ${hostname}:${port}\r\n\r\n`);
    const ended = new Promise((resolve) => idle.once('error', resolve).once('close', resolve));
    const viewer = await open();
    await read(viewer, '#verdict-title', /idle|in step/);
    idle.destroy();
    await ended;
    await load.backlog({ first: 0, count: 20 });
    await read(viewer, '#events', /in step|catching up|idle/);
    expect((await services.reader.ready()).status).toBe(200);
  });
});
