// The sampler of the slots: figures by slot, one warning for each risk, and no end by a failed sample.
import { describe, expect, it, vi } from 'vitest';
import { toLsn } from '#schemas/lsn.ts';
import { createMetrics } from '#service/metrics.ts';
import { serverOf } from '#service/postgres/database-server.ts';
import { createReaderMetrics } from '../../../../cdc-reader/metrics.ts';
import type { SlotHealth, SlotsHealth } from '../../../../cdc-reader/postgres/slots/slot-health.ts';
import { startSlotSampler } from '../../../../cdc-reader/supervise/slot-sampler.ts';

const config = { orderDatabase: serverOf('postgres://nowhere/none'), applicationName: 'reader', slotName: 'live' };
const slot = (change: Partial<SlotHealth>): SlotHealth => ({
  walStatus: 'reserved',
  confirmedFlushLsn: null,
  safeBytes: 5n,
  invalidationReason: null,
  retainedBytes: 7n,
  catalogXminAge: 9,
  ...change,
});
const health = (slots: readonly (readonly [string, SlotHealth])[]): SlotsHealth => ({
  slots: new Map(slots),
  walEnd: toLsn(100n),
  maxKeepBytes: null,
  idleTimeoutSeconds: null,
  frozenXidAge: 11,
});

/** Runs the sampler over these samples (an Error is a failed one), and then closes it. */
async function sample(samples: readonly (SlotsHealth | Error)[]) {
  const metrics = createMetrics('cdc-reader');
  const warn = vi.fn();
  const debug = vi.fn();
  const left = [...samples];
  const { promise: finished, resolve } = Promise.withResolvers<void>();
  const sampler = startSlotSampler({
    config,
    metrics: createReaderMetrics(metrics, () => 1_000),
    logger: { warn, debug },
    everyMs: 1,
    read: async ({ slotNames }) => {
      expect(slotNames).toEqual(['live', 'live_window']);
      const next = left.shift();
      if (next === undefined) {
        resolve();
        return new Promise(() => undefined);
      }
      if (next instanceof Error) throw next;
      return next;
    },
  });
  await finished;
  sampler.close();
  return { text: await metrics.render(), warnings: warn.mock.calls.map(([, message]) => message as string), debug };
}

describe('the sampler of the slots', () => {
  it('reports each slot, the database and the server', async () => {
    const { text } = await sample([health([['live', slot({})]])]);
    for (const line of [
      'tillstream_reader_slot_wal_status{slot="live",wal_status="reserved"} 1',
      'tillstream_reader_slot_wal_status{slot="window",wal_status="missing"} 1',
      'tillstream_reader_slot_safe_wal_bytes{slot="live"} 5',
      'tillstream_reader_slot_retained_bytes{slot="live"} 7',
      'tillstream_reader_slot_catalog_xmin_age{slot="live"} 9',
      'tillstream_reader_slot_datfrozenxid_age 11',
      'tillstream_reader_slot_max_wal_keep_bytes -1',
      'tillstream_reader_slot_idle_timeout_seconds 0',
      'tillstream_reader_slot_sampled_at_seconds 1',
    ]) {
      expect(text).toContain(`${line}\n`);
    }
    expect(text).not.toContain('retained_bytes{slot="window"}');
  });

  it('shows one status, and no figure that the server no longer gives', async () => {
    const lost = slot({ walStatus: 'lost', safeBytes: null, retainedBytes: null });
    const { text } = await sample([health([['live', slot({})]]), health([['live', lost]])]);
    expect(text).toContain('tillstream_reader_slot_wal_status{slot="live",wal_status="lost"} 1\n');
    expect(text).not.toContain('wal_status="reserved"');
    expect(text).not.toContain('safe_wal_bytes{slot="live"}');
  });

  it('samples at once when streaming begins, and drops what was sampled of a slot that was not made yet', async () => {
    const metrics = createMetrics('cdc-reader');
    const readerMetrics = createReaderMetrics(metrics, () => 1_000);
    const asked: (() => void)[] = [];
    const nextSample = () => {
      const { promise, resolve } = Promise.withResolvers<void>();
      asked.push(resolve);
      return promise;
    };
    const answers = [health([]), health([['live', slot({})]])];
    const [first, second] = [nextSample(), nextSample()];
    const sampler = startSlotSampler({
      config,
      metrics: {
        slotsSampled: (...sampled) => {
          readerMetrics.slotsSampled(...sampled);
          asked.shift()?.();
        },
      },
      logger: { warn: vi.fn(), debug: vi.fn() },
      everyMs: 3_600_000,
      read: async () => answers.shift() ?? health([]),
    });
    await first;
    expect(await metrics.render()).toContain('slot_wal_status{slot="live",wal_status="missing"} 1');
    readerMetrics.streams(true);
    const between = await metrics.render();
    expect(between).not.toContain('slot_wal_status{');
    expect(between).toContain('tillstream_reader_slot_sampled_at_seconds 1\n');
    sampler.streamingBegan();
    await second;
    expect(await metrics.render()).toContain('slot_wal_status{slot="live",wal_status="reserved"} 1');
    sampler.close();
  });

  it('goes on after a failed sample, and warns once of each risk until it comes back', async () => {
    const atRisk = health([['live_window', slot({ walStatus: 'unreserved' })]]);
    const well = health([['live_window', slot({})]]);
    const { warnings, debug } = await sample([new Error('away'), atRisk, atRisk, well, atRisk]);
    expect(warnings).toHaveLength(2);
    expect(warnings[0]).toContain('live_window');
    expect(debug).toHaveBeenCalledOnce();
  });
});
