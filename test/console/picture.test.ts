// The picture of the console in the README: taken, not drawn. Orders come and go, a sink has stood for some seconds and has caught
// up, and the audit has compared the databases. `npm run picture` writes it; without PICTURE it is only seen to be small enough.
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { runTool } from '../support/process/tool-process.ts';
import { waitFor } from '../support/wait.ts';
import { startBrowser } from './browser.ts';
import { type ConsoleStage, createConsoleStage, read } from './stage.ts';

const MOST_BYTES = 200_000;
const PACE = { first: 0, count: 3_600, ordersPerSecond: 60 };

let browser: Browser;
beforeAll(async () => {
  browser = await startBrowser();
});
afterAll(() => browser?.close());

it('a picture of the console under load is small enough for the README', async () => {
  const stage = await createConsoleStage(browser);
  try {
    const [picture] = await Promise.all([takePicture(stage), stage.load.pace(PACE)]);
    expect(picture.length).toBeLessThan(MOST_BYTES);
    const path = process.env.PICTURE;
    if (path !== undefined) {
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, picture);
    }
  } finally {
    await stage.cleanUp();
  }
});

async function takePicture({ open, services, environment }: ConsoleStage): Promise<Buffer> {
  const viewer = await open();
  const points = viewer.page.locator('#latency details').first().locator('tbody tr');
  const waitForPoints = (least: number) =>
    waitFor(`${least} points of the lines`, async () => (await points.count()) >= least, { deadlineMs: 60_000 });
  await waitForPoints(4);
  services.sink.pause();
  await read(viewer, '#verdict-title', /cart-sink is away/);
  services.sink.resume();
  await waitForPoints(7);
  expect(await runTool('audit', [], environment.env)).toMatchObject({ code: 0 });
  await waitForPoints(9);
  await read(viewer, '#verdict-title', /^in step$/);
  await read(viewer, '#latency', /applied\s+\d\d\/s/);
  await read(viewer, '#proof', /orders compared, 0 differences/);
  return viewer.page.screenshot({ clip: { x: 0, y: 0, width: 1_280, height: 890 } });
}
