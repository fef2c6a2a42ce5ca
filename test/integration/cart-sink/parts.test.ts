// The two parts of cart-sink as processes of their own: carts are served by the one, ordered goods taken out by the other.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Service } from '../../support/process/service-process.ts';
import { createTestEnvironment, type TestEnvironment } from '../../support/stack/environment.ts';
import { waitFor } from '../../support/wait.ts';

describe('cart-sink apart', () => {
  let environment: TestEnvironment;
  beforeEach(async () => {
    environment = await createTestEnvironment('sink_parts');
  });
  afterEach(() => environment.cleanUp());

  const start = (only: 'api' | 'consumer', more: Record<string, string> = {}) =>
    environment.startService('cart-sink', more, { args: ['--only', only] });
  const post = (service: Service, path: string, body: object) =>
    fetch(service.url + path, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
  const readLines = async (api: Service) => {
    const answer = await fetch(`${api.url}/carts/ada`);
    return ((await answer.json()) as { lines: object[] }).lines;
  };

  it('the API needs no Kafka and consumes nothing; the consumer alone takes ordered goods out, and has no carts', async () => {
    const api = await start('api', { KAFKA_BROKERS: '127.0.0.1:1' });
    await api.waitReady();
    expect((await api.ready()).body).toMatchObject({ pipeline: 'elsewhere' });
    expect((await fetch(`${api.url}/health/pipeline`)).status).toBe(200);
    expect((await post(api, '/carts/ada/lines', { sku: 'tea', quantity: 1 })).status).toBe(201);
    const orders = await environment.startService('order-api');
    await orders.waitReady();
    const item = { sku: 'tea', quantity: 1, unitPriceCents: 499 };
    expect((await post(orders, '/orders', { userId: 'ada', items: [item] })).status).toBe(201);
    const reader = await environment.startService('cdc-reader');
    await reader.waitForLog('reader.streaming', { deadlineMs: 30_000 });
    expect(await readLines(api)).toHaveLength(1);

    const consumer = await start('consumer');
    await consumer.waitReady();
    expect((await fetch(`${consumer.url}/carts/ada`)).status).toBe(404);
    await waitFor('the ordered goods to leave the cart', async () => (await readLines(api)).length === 0, {
      deadlineMs: 30_000,
    });
    expect(api.logs.filter(({ event }) => event?.startsWith('sink.'))).toEqual([]);
  });

  it('the consumer is not ready while its pipeline waits, although the database answers', async () => {
    const consumer = await start('consumer', { KAFKA_BROKERS: '127.0.0.1:1' });
    await waitFor(
      'the pipeline to be in trouble',
      async () => {
        const { status, body } = await consumer.ready();
        if (status === 503 && body.name !== undefined && body.database === 'reachable') return true;
        throw new Error(`${status} ${JSON.stringify(body)}`);
      },
      { deadlineMs: 30_000 },
    );
    expect((await fetch(`${consumer.url}/health/live`)).status).toBe(200);
  });

  it('the consumer starts where others reach it without AUTH; the API refuses', async () => {
    const api = await start('api', { HOST: '0.0.0.0', OPERATIONS_PORT: '0' });
    expect((await api.exited).code).toBe(78);
    expect(api.output.join('\n')).toMatch(/AUTH/);
    const consumer = await start('consumer', { HOST: '0.0.0.0' });
    await waitFor('the consumer to answer', async () => (await fetch(`${consumer.url}/health/live`)).ok);
  });
});
