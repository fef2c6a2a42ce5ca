// All three services as processes, on real Postgres and Kafka, judged from outside by the oracle: orders placed in one
// database leave the carts of the other, whoever started first.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createOrderLoad, fillCarts, type OrderLoad } from '../support/load/order-load.ts';
import { readOrders } from '../support/oracle/facts.ts';
import { assertClean, type Oracle } from '../support/oracle/oracle.ts';
import { createTestEnvironment, type TestEnvironment } from '../support/stack/environment.ts';
import { createEnvironmentOracle } from '../support/stack/pipeline-stage.ts';

describe('the pipeline', () => {
  let environment: TestEnvironment;
  let oracle: Oracle;
  let load: OrderLoad;

  beforeEach(async () => {
    environment = await createTestEnvironment('pipeline');
    const { env } = environment;
    oracle = createEnvironmentOracle(environment, { carts: true });
    await (await environment.startService('order-api')).waitReady();
    await (await environment.startService('cart-sink')).waitReady();
    load = await createOrderLoad({ ordersUrl: env.ORDER_DATABASE_URL });
    await fillCarts({ first: 0, count: 600, cartsUrl: env.CART_DATABASE_URL });
    await oracle.openCarts();
  });

  afterEach(async () => {
    await load?.close();
    await environment.cleanUp();
  });

  it('applies orders of every shape that were placed while it runs', async () => {
    const reader = await environment.startService('cdc-reader');
    await reader.waitForLog('reader.streaming');
    await load.backlog({ first: 0, count: 100 });
    await load.insertTogether({ first: 100, count: 100 });
    await load.copyTogether({ first: 200, count: 100 });
    await load.commitSideBySide({ first: 300, count: 12 });
    await oracle.waitUntilDrained(30_000);
    assertClean(await oracle.check());
    expect((await reader.metrics()).size).toBeGreaterThan(10);
    // Without commit times the oracle would excuse every order that an accepted gap might have held.
    const orders = await readOrders(environment.env.ORDER_DATABASE_URL);
    expect(orders.filter(({ committedAt }) => committedAt === undefined)).toEqual([]);
  });

  it('applies orders that were placed before the reader has ever run', async () => {
    await load.backlog({ first: 0, count: 300 });
    const reader = await environment.startService('cdc-reader');
    await reader.waitForLog('reader.streaming');
    await load.backlog({ first: 300, count: 50 });
    await oracle.waitUntilDrained(30_000);
    assertClean(await oracle.check());
  });
});
