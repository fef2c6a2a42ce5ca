// What real services export: every metric that the page, the alerts and the dashboard name is in /metrics of the service that it
// is said to be of, with the type that it is said to have; and gauges of state are there once there is a state.
import { afterEach, beforeEach, expect, it } from 'vitest';
import { type KnownMetric, listMetrics } from '../../support/examples/all-metrics.ts';
import { namesIn, readAlerts, readExpressions } from '../../support/examples/dashboard.ts';
import type { Service } from '../../support/process/service-process.ts';
import { createTestEnvironment, type TestEnvironment } from '../../support/stack/environment.ts';
import { startReader, startSink } from '../../support/stack/start-services.ts';
import { waitFor } from '../../support/wait.ts';

let environment: TestEnvironment;
beforeEach(async () => {
  environment = await createTestEnvironment('exported_metrics');
});
afterEach(() => environment.cleanUp());

/** Only with AUTH_JWKS_URL, and only with files of certificates. */
const configured = ['tillstream_auth_keys_away', 'tillstream_tls_certificate_days_left'];

const scrape = async ({ url }: Service) => (await fetch(`${url}/metrics`)).text();
const typesOf = (text: string) =>
  new Map([...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name, type]) => [name!, type!]));
const expectTypes = (types: ReadonlyMap<string, string>, wanted: readonly KnownMetric[]) => {
  const found = wanted.filter(({ name }) => !configured.includes(name));
  expect(found.map(({ name }) => [name, types.get(name)])).toEqual(found.map(({ name, type }) => [name, type]));
};

it('is what the page, the alerts and the dashboard name', async () => {
  const [orderApi, sink] = await Promise.all([environment.startService('order-api'), startSink(environment)]);
  await Promise.all([orderApi.waitReady(), sink.waitReady()]);
  const [reader, standby] = await Promise.all([startReader(environment), startReader(environment)]);
  const line = { sku: 'tea', quantity: 1, unitPriceCents: 499 };
  const post = (url: string, body: object) =>
    fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
  expect((await post(`${orderApi.url}/orders`, { userId: 'ada', items: [line] })).status).toBe(201);

  const series = (text: string, name: string) =>
    text
      .split('\n')
      .flatMap((one) =>
        one.startsWith(`${name} `) || one.startsWith(`${name}{`) ? [Number(one.split(' ').at(-1))] : [],
      );
  const sum = (text: string, name: string) => series(text, name).reduce((total, value) => total + value, 0);
  await waitFor(
    'the order to be applied, and one reader to stand by',
    async () => {
      const readers = (await scrape(reader)) + (await scrape(standby));
      const isApplied = sum(await scrape(sink), 'tillstream_sink_orders_applied_total') === 1;
      return (
        isApplied &&
        sum(readers, 'tillstream_reader_standby') === 1 &&
        sum(readers, 'tillstream_reader_streaming') === 1
      );
    },
    { deadlineMs: 60_000 },
  );
  await waitFor(
    'the lag to be measured',
    async () => series(await scrape(sink), 'tillstream_sink_lag_seconds').length >= 6,
  );

  const known = await listMetrics();
  const texts = {
    'order-api': await scrape(orderApi),
    'cdc-reader': await scrape(reader),
    'cart-sink': await scrape(sink),
  };
  for (const [service, text] of Object.entries(texts)) expectTypes(typesOf(text), known.get(service)!);
  const everywhere = new Map(Object.values(texts).flatMap((text) => [...typesOf(text)]));
  expectTypes(everywhere, known.get('all services')!);
  const named = namesIn([...readAlerts().map(({ text }) => text), ...readExpressions()].join('\n'));
  expect(named.filter((name) => !everywhere.has(name) && !configured.includes(name))).toEqual([]);
  expect([...everywhere.keys()].filter((name) => !/^(tillstream|process|nodejs)_/.test(name))).toEqual([]);

  const sinkText = texts['cart-sink'];
  for (const name of ['sink_next_offset', 'sink_lag_records', 'parked_events', 'pool_connections', 'pool_waiting']) {
    expect([name, series(sinkText, `tillstream_${name}`).length > 0]).toEqual([name, true]);
  }
  expect(series(sinkText, 'tillstream_last_audit_at_seconds')).toEqual([]);
  const scrapeReaders = async () => (await scrape(reader)) + (await scrape(standby));
  // The slots are sampled every 15 s, and there were none at first.
  await waitFor(
    'the slots to be sampled',
    async () => series(await scrapeReaders(), 'tillstream_reader_slot_retained_bytes').length > 0,
    { deadlineMs: 30_000 },
  );
  const both = await scrapeReaders();
  for (const name of [
    'lag_bytes',
    'through_lsn',
    'slot_retained_bytes',
    'slot_wal_status',
    'slot_sampled_at_seconds',
  ]) {
    expect([name, series(both, `tillstream_reader_${name}`).length > 0]).toEqual([name, true]);
  }
  expect(series(both, 'tillstream_reader_lag_seconds')).toHaveLength(1);
});

it('goes on growing after a halt of the reader', async () => {
  const orderApi = await environment.startService('order-api');
  await orderApi.waitReady();
  const reader = await startReader(environment);
  await reader.waitForLog('reader.streaming', { deadlineMs: 60_000 });
  const { Client } = (await import('pg')).default;
  const orders = new Client({ connectionString: environment.env.ORDER_DATABASE_URL });
  await orders.connect();
  await orders.query('ALTER TABLE order_items RENAME TO aside');
  await orders.query('CREATE TABLE order_items (LIKE aside INCLUDING ALL)').catch(() => undefined);
  await reader.waitForLog('pipeline.halted', { deadlineMs: 60_000 });
  await orders.end();
  const lag = async () => (await reader.metrics()).get('tillstream_reader_lag_seconds')!;
  const first = await lag();
  await waitFor('the lag to grow', async () => (await lag()) >= first + 2, { deadlineMs: 10_000 });
  expect((await reader.metrics()).get('tillstream_reader_streaming')).toBe(0);
});
