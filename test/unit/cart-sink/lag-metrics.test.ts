import { beforeEach, expect, it } from 'vitest';
import { createMetrics, type Metrics } from '#service/metrics.ts';
import { createLagMetrics } from '../../../cart-sink/lag-metrics.ts';

const place = { topic: 'live', partition: 3 };
const owned = { ...place, nextOffset: 10n, ownerEpoch: 1n, lastCommitLsn: null, topicId: null };
let nowMs = 0;
let metrics: Metrics;
let lag: ReturnType<typeof createLagMetrics>;

beforeEach(() => {
  nowMs = 1_000_000;
  metrics = createMetrics('test');
  lag = createLagMetrics(metrics, () => nowMs);
});

const measure = (records: bigint, behindSinceMs?: number) =>
  lag.lagMeasured([{ ...place, nextOffset: 10n, records, behindSinceMs, seconds: undefined }]);
async function series(): Promise<Record<string, number>> {
  const found = (await metrics.render()).matchAll(/^tillstream_sink_(\w+)\{topic="live",partition="3"\} (\S+)$/gm);
  return Object.fromEntries([...found].map(([, name, value]) => [name, Number(value)]));
}

it('has no figures before a measurement, and is 0 behind nothing', async () => {
  lag.lagAssigned([owned]);
  expect(await series()).toEqual({ next_offset: 10 });
  measure(0n);
  expect(await series()).toEqual({ next_offset: 10, lag_records: 0, lag_seconds: 0 });
});

it('grows at each scrape while nothing moves, from the last order on, or else from the takeover', async () => {
  lag.lagAssigned([owned]);
  measure(5n);
  nowMs += 20_000;
  expect(await series()).toEqual({ next_offset: 10, lag_records: 5, lag_seconds: 20 });
  lag.lagApplied({ ...place, nextOffset: 12n }, BigInt(nowMs - 3_000) * 1_000n);
  expect(await series()).toEqual({ next_offset: 12, lag_records: 3, lag_seconds: 3 });
  nowMs += 7_000;
  expect((await series()).lag_seconds).toBe(10);
});

it('counts from when the oldest pending record came, after an idle hour too, and no longer than until it is applied', async () => {
  lag.lagAssigned([owned]);
  lag.lagApplied({ ...place, nextOffset: 10n }, BigInt(nowMs) * 1_000n);
  nowMs += 3_600_000;
  measure(2n, nowMs - 1_000);
  expect(await series()).toEqual({ next_offset: 10, lag_records: 2, lag_seconds: 1 });
  lag.lagApplied({ ...place, nextOffset: 12n }, BigInt(nowMs) * 1_000n);
  nowMs += 4_000;
  expect(await series()).toEqual({ next_offset: 12, lag_records: 0, lag_seconds: 0 });
});

it('forgets what is too old to be true, but not that it was behind', async () => {
  lag.lagAssigned([owned]);
  measure(0n);
  nowMs += 91_000;
  expect(await series()).toEqual({ next_offset: 10 });
  measure(1n);
  nowMs += 91_000;
  expect(await series()).toEqual({ next_offset: 10, lag_seconds: 182 });
});

it('gives up what another sink took, and goes on ageing after a halt of all', async () => {
  lag.lagAssigned([owned]);
  measure(0n);
  lag.lagLeft();
  expect(await series()).toEqual({});
  lag.lagHalted();
  nowMs += 60_000;
  expect(await series()).toEqual({ next_offset: 10, lag_seconds: 60 });
});
