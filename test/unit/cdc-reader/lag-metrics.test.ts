import { beforeEach, expect, it } from 'vitest';
import { toLsn } from '#schemas/lsn.ts';
import { createMetrics, type Metrics } from '#service/metrics.ts';
import { createLagMetrics } from '../../../cdc-reader/lag-metrics.ts';
import { exampleCheckpoint } from '../../support/examples/checkpoint.ts';

const START_MS = 1_000_000;
let nowMs = 0;
let metrics: Metrics;
let lag: ReturnType<typeof createLagMetrics>;

beforeEach(() => {
  nowMs = START_MS;
  metrics = createMetrics('test');
  lag = createLagMetrics(metrics, () => nowMs);
});

async function series(): Promise<Record<string, number>> {
  const found = (await metrics.render()).matchAll(/^tillstream_reader_(\S+) (\S+)$/gm);
  return Object.fromEntries([...found].map(([, name, value]) => [name, Number(value)]));
}
const publish = (throughLsn: bigint) => lag.published(exampleCheckpoint({ throughLsn: toLsn(throughLsn) }));
const slot = { confirmedFlushLsn: toLsn(100n), retainedBytes: 7n };

it('is 0 seconds while nothing is pending, and the age of the oldest commit while something is', async () => {
  lag.streams(true);
  lag.sampled(toLsn(150n), slot);
  expect(await series()).toMatchObject({
    streaming: 1,
    standby: 0,
    lag_seconds: 0,
    lag_bytes: 50,
    retained_wal_bytes: 7,
  });
  lag.pending({ bytes: 9, orders: 2, oldest: { committedAt: BigInt(START_MS) * 1_000n } as never });
  nowMs += 4_000;
  expect(await series()).toMatchObject({ lag_seconds: 4, in_flight_orders: 2 });
  lag.pending({ bytes: 0, orders: 0, oldest: undefined });
  publish(150n);
  expect(await series()).toMatchObject({ lag_seconds: 0, lag_bytes: 0, through_lsn: 150 });
});

it('is the age of the WAL that was written and not received, and 0 once a keepalive has told of it', async () => {
  lag.streams(true);
  lag.sampled(toLsn(100n), slot);
  nowMs += 60_000;
  expect((await series()).lag_seconds).toBe(0); // idle
  lag.sampled(toLsn(300n), slot);
  nowMs += 2_000;
  lag.sampled(toLsn(400n), slot);
  nowMs += 2_000;
  expect((await series()).lag_seconds).toBe(4);
  lag.receivedLsn(toLsn(300n));
  expect((await series()).lag_seconds).toBe(2);
  lag.receivedLsn(toLsn(400n));
  expect((await series()).lag_seconds).toBe(0);
  // Until the first keepalive of the next start nothing else is known.
  lag.streams(false);
  lag.streams(true);
  lag.sampled(toLsn(400n), slot);
  nowMs += 5_000;
  expect((await series()).lag_seconds).toBe(0);
});

it('goes on growing after a halt, from the oldest commit or from the end of streaming', async () => {
  lag.streams(true);
  nowMs += 10_000;
  lag.streams(false);
  lag.streams(false);
  nowMs += 30_000;
  lag.sampled(toLsn(500n), slot);
  expect(await series()).toMatchObject({ streaming: 0, lag_seconds: 30, lag_bytes: 400 });
  lag.pending({ bytes: 9, orders: 2, oldest: { committedAt: BigInt(START_MS) * 1_000n } as never });
  lag.pendingDropped();
  nowMs += 10_000;
  expect(await series()).toMatchObject({ lag_seconds: 50, in_flight_bytes: 0, in_flight_orders: 0 });
});

it('is left to the other reader while this one stands by, and absent where it is too old to be true', async () => {
  lag.standsBy();
  lag.sampled(toLsn(150n), slot);
  expect(await series()).toMatchObject({ standby: 1, streaming: 0, lag_bytes: 50 });
  expect(await series()).not.toHaveProperty('lag_seconds');
  nowMs += 61_000;
  expect(await series()).not.toHaveProperty('lag_bytes');
  expect(await series()).not.toHaveProperty('retained_wal_bytes');
});

it('tells for each stage how long ago WAL was written that it has not reached', async () => {
  const ages = async () => {
    const found = (await metrics.render()).matchAll(
      /^tillstream_reader_position_age_seconds\{stage="(\w+)"\} (\S+)$/gm,
    );
    return Object.fromEntries([...found].map(([, stage, value]) => [stage, Number(value)]));
  };
  lag.streams(true);
  const at = (flushed: bigint, sent: bigint, confirmed: bigint) =>
    lag.sampled(toLsn(flushed), { ...slot, sentLsn: toLsn(sent), confirmedFlushLsn: toLsn(confirmed) });
  at(100n, 100n, 100n);
  nowMs += 60_000;
  at(200n, 200n, 100n);
  nowMs += 2_000;
  at(300n, 200n, 100n);
  lag.receivedLsn(toLsn(150n));
  nowMs += 2_000;
  at(400n, 300n, 100n);
  expect(await ages()).toEqual({ written: 0, sent: 0, received: 4, committed: 4, acknowledged: 4 });
  nowMs += 1_000;
  publish(200n);
  lag.receivedLsn(toLsn(300n));
  expect(await ages()).toEqual({ written: 0, sent: 1, received: 1, committed: 3, acknowledged: 5 });
  at(400n, 400n, 400n);
  lag.receivedLsn(toLsn(400n));
  publish(400n);
  expect(await ages()).toEqual({ written: 0, sent: 0, received: 0, committed: 0, acknowledged: 0 });
});
