// The trace of an order, from the request that placed it to its effect on the cart: the trace context travels unchanged in the
// column, the Kafka header and the log, and with an OTLP endpoint one trace has a span of each service.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type OtlpReceiver, startOtlpReceiver } from '../support/network/otlp-receiver.ts';
import { readTopic } from '../support/oracle/read-topic.ts';
import type { Service } from '../support/process/service-process.ts';
import { createTestEnvironment, type TestEnvironment, withServer } from '../support/stack/environment.ts';
import { waitFor } from '../support/wait.ts';

const traceId = '4bf92f3577b34da6a3ce929d0e0e4736';
const traceparent = `00-${traceId}-00f067aa0ba902b7-01`;

let environment: TestEnvironment;
let receiver: OtlpReceiver;

beforeEach(async () => {
  environment = await createTestEnvironment('tracing');
  receiver = await startOtlpReceiver();
});
afterEach(async () => {
  await environment.cleanUp();
  await receiver.close();
});

async function startAll(
  env: Readonly<Record<string, string>>,
): Promise<{ api: Service; reader: Service; sink: Service }> {
  const api = await environment.startService('order-api', env);
  const sink = await environment.startService('cart-sink', env);
  await api.waitReady();
  await sink.waitReady();
  const reader = await environment.startService('cdc-reader', env);
  await reader.waitForLog('reader.streaming');
  return { api, reader, sink };
}

async function placeOrder(api: Service, headers: Readonly<Record<string, string>> = {}): Promise<string> {
  const response = await fetch(`${api.url}/orders`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify({ userId: 'ada', items: [{ sku: 'tea', quantity: 1, unitPriceCents: 100 }] }),
  });
  expect(response.status).toBe(201);
  return ((await response.json()) as { orderId: string }).orderId;
}

const appliedOrders = () =>
  withServer(environment.env.CART_DATABASE_URL, async (client) => {
    const { rows } = await client.query('SELECT order_id FROM applied_orders');
    return rows.map(({ order_id }) => order_id as string);
  });

async function waitUntilApplied(orderIds: readonly string[]): Promise<void> {
  await waitFor('the orders to be applied', async () => {
    const applied = await appliedOrders();
    return orderIds.every((orderId) => applied.includes(orderId));
  });
}

/** The trace context of each event, by the bytes of its order id in the value. */
async function readHeaders(): Promise<(string | undefined)[]> {
  const { servers, env } = environment;
  const brokers = servers.directBrokers.split(',');
  const logs = await readTopic({ brokers, topic: env.ORDERS_TOPIC, deadlineMs: 20_000 });
  return logs.flatMap(({ records }) => records.map(({ headers }) => headers?.traceparent));
}

describe('a trace context', () => {
  it('travels unchanged from the request to the column, the Kafka header and the sink, without an OTLP endpoint', async () => {
    const { api, sink } = await startAll({});
    const traced = await placeOrder(api, { traceparent });
    const untraced = await placeOrder(api);
    const malformed = await placeOrder(api, { traceparent: '00-00000000000000000000000000000000-00f067aa0ba902b7-01' });
    await waitUntilApplied([traced, untraced, malformed]);
    const stored = await withServer(environment.env.ORDER_DATABASE_URL, (client) =>
      client.query('SELECT order_id, traceparent FROM orders'),
    );
    const byId = new Map(stored.rows.map((row) => [row.order_id, row.traceparent]));
    expect([traced, untraced, malformed].map((id) => byId.get(id))).toEqual([traceparent, null, null]);
    expect((await readHeaders()).toSorted()).toEqual([traceparent, undefined, undefined]);
    const applied = sink.logs.filter(({ event }) => event === 'sink.applied');
    expect(applied.flatMap(({ traceIds }) => traceIds as string[])).toEqual([traceId]);
    expect(receiver.spans).toEqual([]);
  });

  it('of another form can not be stored by any writer', async () => {
    await (await environment.startService('order-api')).waitReady();
    const insert = (text: string) =>
      withServer(environment.env.ORDER_DATABASE_URL, (client) =>
        client.query(
          `INSERT INTO orders (order_id, user_id, source, currency, total_cents, traceparent)
           VALUES (gen_random_uuid(), 'ada', 'direct', 'USD', 0, $1)`,
          [text],
        ),
      );
    for (const text of ['', 'x', traceparent.toUpperCase(), `${traceparent}-more`, `01${traceparent.slice(2)}`]) {
      await expect(insert(text)).rejects.toMatchObject({ constraint: 'orders_traceparent' });
    }
  });

  it('makes one trace of request, COMMIT, publishing and applying, with an OTLP endpoint', async () => {
    const { api, reader, sink } = await startAll({ OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url });
    const traced = await placeOrder(api, { traceparent });
    await waitUntilApplied([traced]);
    const own = await placeOrder(api);
    await waitUntilApplied([own]);
    // Each service sends what is left when it stops.
    await Promise.all([api.stop(), reader.stop(), sink.stop()]);

    const ofTrace = receiver.spans.filter((span) => span.traceId === traceId);
    const names = ofTrace.map(({ service, name, kind }) => `${service}: ${name} (${kind})`);
    expect(names.toSorted()).toEqual([
      `cart-sink: apply ${environment.env.ORDERS_TOPIC} (5)`,
      `cdc-reader: publish ${environment.env.ORDERS_TOPIC} (4)`,
      'order-api: POST /orders (2)',
      'order-api: commit order (3)',
    ]);
    const find = (part: string) => ofTrace.find(({ name }) => name.startsWith(part))!;
    expect(find('POST').parentSpanId).toBe('00f067aa0ba902b7');
    expect(find('commit').parentSpanId).toBe(find('POST').spanId);
    expect(find('publish').parentSpanId).toBe('00f067aa0ba902b7');
    expect(find('apply').parentSpanId).toBe('00f067aa0ba902b7');

    // Without a caller's context, the request begins a trace, and the order travels under it.
    const others = Map.groupBy(
      receiver.spans.filter((span) => span.traceId !== traceId),
      (span) => span.traceId,
    );
    const ownTrace = [...others.values()].find((spans) => spans.some(({ name }) => name === 'POST /orders'))!;
    expect(ownTrace.map(({ service }) => service).toSorted()).toEqual([
      'cart-sink',
      'cdc-reader',
      'order-api',
      'order-api',
    ]);
    expect((await readHeaders()).filter((header) => header !== traceparent)).toEqual([
      `00-${ownTrace[0]!.traceId}-${ownTrace.find(({ name }) => name === 'POST /orders')!.spanId}-01`,
    ]);
  });

  it('costs no order where the receiver is away', async () => {
    const { api, reader } = await startAll({ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:1' });
    const orders = [await placeOrder(api, { traceparent }), await placeOrder(api)];
    await waitUntilApplied(orders);
    const exit = await reader.stop();
    expect(exit).toMatchObject({ code: 0 });
    expect(reader.output).toEqual([]);
  });
});
