// A running deployment of 625f9a0, with data and topics of its own, is replaced service by service while orders are placed: in
// the documented sequence, in the other one, and back again. Each step works, or the older process halts by name until it is
// replaced; after each the oracle and the audit find nothing wrong.
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createOrderLoad, fillCarts, type OrderLoad } from '../support/load/order-load.ts';
import { assertClean, type Oracle } from '../support/oracle/oracle.ts';
import { buildOldServices, type OldServices } from '../support/process/old-services.ts';
import type { Service } from '../support/process/service-process.ts';
import { runTool } from '../support/process/tool-process.ts';
import { createTestEnvironment, type TestEnvironment } from '../support/stack/environment.ts';
import { createEnvironmentOracle } from '../support/stack/pipeline-stage.ts';
import { readHalt } from '../support/stack/require-halted.ts';
import { startReader, startSink } from '../support/stack/start-services.ts';

const ORDERS = 40;

let old: OldServices;
let environment: TestEnvironment;
let oracle: Oracle;
let load: OrderLoad;
let placed: number;

beforeAll(async () => {
  ({ old } = await buildOldServices());
});
beforeEach(async () => {
  environment = await createTestEnvironment('upgrade');
  oracle = createEnvironmentOracle(environment, { carts: true });
  placed = 0;
});
afterEach(async () => {
  await load?.close();
  await environment.cleanUp();
});

const ready = async (starting: Promise<Service>) => {
  const service = await starting;
  await service.waitReady();
  return service;
};
const streaming = async (starting: Promise<Service>) => {
  const service = await starting;
  await service.waitForLog('reader.streaming', { deadlineMs: 60_000 });
  return service;
};
const newReader = () => streaming(startReader(environment));
const newSink = () => ready(startSink(environment));
const newApi = () => ready(environment.startService('order-api'));
const oldTimes = { WAL_SENDER_TIMEOUT_MS: '2000', TRANSACTION_TIMEOUT_MS: '5000', SESSION_TIMEOUT_MS: '6000' };
const startOld = (name: 'order-api' | 'cdc-reader' | 'cart-sink') =>
  environment.startService(name, oldTimes, old(name));

/** Orders are placed, and leave the carts exactly once. */
async function requireFlow(): Promise<void> {
  await load.backlog({ first: placed, count: ORDERS });
  placed += ORDERS;
  await environment.explain(oracle.waitUntilDrained(60_000));
  assertClean(await oracle.check());
}

async function requireAuditClean(): Promise<void> {
  const audit = await runTool('audit', [], environment.env);
  expect(audit.code, audit.stdout + audit.stderr).toBe(0);
}

/** All three old services, at work, with what they have made. */
async function startOldDeployment() {
  const api = await ready(startOld('order-api'));
  const sink = await ready(startOld('cart-sink'));
  load = await createOrderLoad({ ordersUrl: environment.env.ORDER_DATABASE_URL });
  await fillCarts({ first: 0, count: 10 * ORDERS, cartsUrl: environment.env.CART_DATABASE_URL });
  await oracle.openCarts();
  const reader = await streaming(startOld('cdc-reader'));
  await requireFlow();
  return { api, sink, reader };
}

/** While neither runs, orders go on. */
async function replace(service: Service, start: () => Promise<Service>): Promise<Service> {
  await service.stop();
  await load.backlog({ first: placed, count: ORDERS });
  placed += ORDERS;
  const next = await start();
  await requireFlow();
  return next;
}

describe('an upgrade of a running deployment', () => {
  it('sinks first, then the readers, then order-api', async () => {
    const { api, sink, reader } = await startOldDeployment();
    await replace(sink, newSink);
    await replace(reader, newReader);
    await replace(api, newApi);
    await requireAuditClean();
  });

  it('readers first: the old sink goes on with what the new reader publishes', async () => {
    const { api, sink, reader } = await startOldDeployment();
    await replace(reader, newReader);
    await replace(api, newApi);
    await replace(sink, newSink);
    await requireAuditClean();
  });

  it('rolled back at the sinks: the old one goes on in the migrated database, and the new one after it', async () => {
    const { sink } = await startOldDeployment();
    const newer = await replace(sink, newSink);
    const older = await replace(newer, () => ready(startOld('cart-sink')));
    await replace(older, newSink);
    await requireAuditClean();
  });

  it('rolled back at the readers: the old one halts by name until it is replaced', async () => {
    const { sink, reader } = await startOldDeployment();
    await replace(sink, newSink);
    const newer = await replace(reader, newReader);
    await newer.stop();
    const older = await startOld('cdc-reader');
    await readHalt(older, 'CHECKPOINT_UNREADABLE', { isOld: true });
    await replace(older, newReader);
    await requireAuditClean();
  });

  it('rolled back at order-api: the old one goes on in the migrated database', async () => {
    const { sink, api } = await startOldDeployment();
    await replace(sink, newSink);
    const newer = await replace(api, newApi);
    const older = await replace(newer, () => ready(startOld('order-api')));
    const item = { sku: 'tea', quantity: 1, unitPriceCents: 499 };
    const answer = await fetch(`${older.url}/orders`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ userId: 'ada', items: [item] }),
    });
    expect(answer.status).toBe(201);
    await requireFlow();
    await requireAuditClean();
  });
});
