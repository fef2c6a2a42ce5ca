// Real services with a console, for one test: databases and topics of its own, the viewers of the page, and what they read.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Browser } from 'playwright-core';
import { createOrderLoad, fillCarts, type OrderLoad } from '../support/load/order-load.ts';
import type { Service } from '../support/process/service-process.ts';
import { createTestEnvironment, type TestEnvironment, type TestServers } from '../support/stack/environment.ts';
import { waitFor } from '../support/wait.ts';
import { openConsole, type Viewer } from './browser.ts';

/** Where screenshots go, if anywhere. */
const shots = process.env.SCREENSHOTS;

export interface ConsoleStage {
  readonly environment: TestEnvironment;
  readonly load: OrderLoad;
  /** Those that run now: a test that starts one again puts it here. */
  readonly services: Record<'api' | 'sink' | 'reader', Service>;
  open(options?: Parameters<typeof openConsole>[2]): Promise<Viewer>;
  cleanUp(): Promise<void>;
}

export async function createConsoleStage(
  browser: Browser,
  options: { readonly servers?: TestServers; readonly reader?: Readonly<Record<string, string>> } = {},
): Promise<ConsoleStage> {
  const viewers: Viewer[] = [];
  const environment = await createTestEnvironment('console', options.servers);
  const api = await environment.startService('order-api');
  const sink = await environment.startService('cart-sink');
  await api.waitReady();
  await sink.waitReady();
  const addresses = { ORDER_API_OPERATIONS_URL: api.url, CART_SINK_OPERATIONS_URLS: sink.url };
  const reader = await environment.startService('cdc-reader', { ...addresses, ...options.reader });
  await reader.waitForLog('reader.streaming');
  const services = { api, sink, reader };
  const load = await createOrderLoad({ ordersUrl: environment.env.ORDER_DATABASE_URL });
  await fillCarts({ first: 0, count: 400, cartsUrl: environment.env.CART_DATABASE_URL });
  return {
    environment,
    load,
    services,
    async open(viewing = {}) {
      const viewer = await openConsole(browser, services.reader.url, viewing);
      viewers.push(viewer);
      return viewer;
    },
    async cleanUp() {
      for (const viewer of viewers) await viewer.close();
      await load.close();
      await environment.cleanUp();
    },
  };
}

export const textOf = ({ page }: Viewer, selector: string): Promise<string> => page.locator(selector).innerText();

/** Waits until that part of the page reads as wanted. */
export async function read(viewer: Viewer, selector: string, wanted: RegExp, deadlineMs = 30_000): Promise<string> {
  return waitFor(
    `${selector} to say ${wanted}`,
    async () => {
      const text = await textOf(viewer, selector);
      if (!wanted.test(text)) throw new Error(`it says: ${text}`);
      return text;
    },
    { deadlineMs },
  );
}

/** The width of what is on the page, and of the window. */
export const widthsOf = ({ page }: Viewer) =>
  page.evaluate('[document.documentElement.scrollWidth, innerWidth]') as Promise<[content: number, window: number]>;

export async function shoot({ page }: Viewer, name: string): Promise<void> {
  if (shots === undefined) return;
  mkdirSync(shots, { recursive: true });
  await page.screenshot({ path: join(shots, `${name}.png`), fullPage: true });
}
