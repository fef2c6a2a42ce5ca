// What a start looks at: the checkpoint, which may be hidden; the lag; and the one life that all its parts share.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { formatCheckpoint } from '#schemas/checkpoint.ts';
import { LSN_ZERO, toLsn } from '#schemas/lsn.ts';
import { createMetrics } from '#service/metrics.ts';
import { serverOf } from '#service/postgres/database-server.ts';
import { RowSpool } from '../../../../cdc-reader/encode/row-spool.ts';
import { createReaderMetrics } from '../../../../cdc-reader/metrics.ts';
import type { SourceSession } from '../../../../cdc-reader/postgres/source-session.ts';
import { explainBusySlot, requireOwnSlot } from '../../../../cdc-reader/startup/start-up.ts';
import { explainMissingCheckpoint, findCheckpoint } from '../../../../cdc-reader/startup/verified-checkpoint.ts';
import { startLagSampler } from '../../../../cdc-reader/supervise/lag-sampler.ts';
import { createScope } from '../../../../cdc-reader/supervise/scope.ts';
import { exampleCheckpoint } from '../../../support/examples/checkpoint.ts';
import { parseMetrics } from '../../../support/process/prometheus-text.ts';
import { waitFor } from '../../../support/wait.ts';

const names = { checkpointTopic: 'cdc.checkpoints.tillstream', slotName: 'tillstream' };
const intent = exampleCheckpoint({ state: 'intent', throughLsn: LSN_ZERO, nextOffsets: [] });

type Kafka = Parameters<typeof findCheckpoint>[1];

/** A checkpoint topic that ends at offset 2, of which `lastStable` can be read. */
function kafkaWith(options: { record: Buffer | null; lastStable: bigint; exists?: boolean }): Kafka {
  const offsets = { earliest: 0n, lastStable: options.lastStable, highWatermark: 2n };
  return {
    hasCheckpointTopic: async () => options.exists ?? true,
    log: { readOffsets: async () => new Map([[0, offsets]]) } as unknown as Kafka['log'],
    checkpointTopic: {
      read: async () => ({ record: options.record, offset: null }),
    } as unknown as Kafka['checkpointTopic'],
  };
}

describe('finding the checkpoint', () => {
  const slot = { confirmedFlushLsn: toLsn(5n) };

  it('gives the newest one', async () => {
    const kafka = kafkaWith({ record: formatCheckpoint(intent), lastStable: 2n });
    expect(await findCheckpoint(names, kafka, 'last_stable_offset', true)).toEqual({
      checkpoint: intent,
      isHidden: false,
    });
  });

  it('says that a newer one may be hidden in a transaction that has not ended, until it has fenced its writer', async () => {
    const kafka = kafkaWith({ record: formatCheckpoint(intent), lastStable: 1n });
    expect(await findCheckpoint(names, kafka, 'last_stable_offset', true)).toEqual({
      checkpoint: intent,
      isHidden: true,
    });
    expect(await findCheckpoint(names, kafka, 'high_watermark', true)).toMatchObject({ isHidden: false });
  });

  it('halts where the newest record is no checkpoint', async () => {
    const kafka = kafkaWith({ record: Buffer.from('{"version":2}'), lastStable: 2n });
    await expect(findCheckpoint(names, kafka, 'last_stable_offset', true)).rejects.toMatchObject({
      code: 'CHECKPOINT_UNREADABLE',
    });
  });

  it('halts where there is a slot and none', async () => {
    for (const kafka of [
      kafkaWith({ record: null, lastStable: 2n }),
      kafkaWith({ record: null, lastStable: 2n, exists: false }),
    ]) {
      const { checkpoint, isHidden } = await findCheckpoint(names, kafka, 'last_stable_offset', true);
      expect(checkpoint).toBe(null);
      const error = explainMissingCheckpoint(names, { isHidden, slot, liveOffsets: 0n });
      expect(error).toMatchObject({ code: 'CHECKPOINT_MISSING' });
    }
  });

  it('looks again where the first one may be in a transaction that has not ended, until it has fenced its writer', async () => {
    const kafka = kafkaWith({ record: null, lastStable: 1n });
    const { isHidden } = await findCheckpoint(names, kafka, 'last_stable_offset', true);
    const error = explainMissingCheckpoint(names, { isHidden, slot, liveOffsets: 0n });
    expect(error).toMatchObject({ code: 'CHECKPOINT_UNDECIDED' });
    expect(await findCheckpoint(names, kafka, 'high_watermark', true)).toMatchObject({ isHidden: false });
  });
});

describe('a slot that is in use', () => {
  const busy = new Error('Slot live is in use by walsender pid 7');

  it('makes a hot standby of this reader only behind one that streams', () => {
    const streaming = explainBusySlot(busy, { active: true, confirmedFlushLsn: toLsn(7n) });
    expect(streaming).toMatchObject({ code: 'STANDBY', confirmedFlushLsn: 7n, cause: busy });
    expect(streaming.message).toContain('pid 7');
  });

  it.each([
    ['is still being made', { active: true, confirmedFlushLsn: null }],
    ['is free by now', { active: false, confirmedFlushLsn: toLsn(7n) }],
    ['is gone', null],
  ])('makes none of it where the slot %s', (_, holder) => {
    expect(explainBusySlot(busy, holder)).toMatchObject({ code: 'SLOT_NOT_STREAMING', cause: busy });
  });
});

describe('the slot of a start', () => {
  const config = { slotName: 'live', orderDatabase: serverOf('postgres://u:p@localhost/orders') };

  it('is one of pgoutput and of this database, or none yet', () => {
    expect(() => requireOwnSlot(null, config)).not.toThrow();
    expect(() => requireOwnSlot({ plugin: 'pgoutput', database: 'orders' }, config)).not.toThrow();
  });

  it.each([
    { plugin: 'pgoutput', database: 'other' },
    { plugin: 'test_decoding', database: 'orders' },
  ])('halts the reader where it is of $plugin in $database', (slot) => {
    expect(() => requireOwnSlot(slot, config)).toThrow(/`SELECT pg_drop_replication_slot\('live'\)`/);
  });
});

describe('sampling the lag', () => {
  function createStage(source: Partial<Pick<SourceSession, 'readSlot' | 'readCurrentWal'>> = {}) {
    const metrics = createMetrics('test');
    const scope = createScope();
    const stage = { flushLsn: toLsn(1_000n), looks: 0 };
    const sampler = startLagSampler({
      source: {
        readSlot: async () => ({ confirmedFlushLsn: toLsn(400n), retainedBytes: 700n }) as never,
        readCurrentWal: async () => {
          stage.looks += 1;
          return { flushLsn: stage.flushLsn, timeline: 1, inRecovery: false };
        },
        ...source,
      },
      slotName: 'tillstream',
      metrics: createReaderMetrics(metrics),
      scope,
      everyMs: 10,
    });
    const metric = async (name: string) => parseMetrics(await metrics.render()).get(name);
    return Object.assign(stage, { sampler, scope, metric });
  }

  it('tells the distance to the end of the log and what the slot keeps, again and again, with nothing received', async () => {
    const stage = createStage();
    await waitFor('a sample', async () => (await stage.metric('tillstream_reader_lag_bytes')) === 600);
    expect(await stage.metric('tillstream_reader_retained_wal_bytes')).toBe(700);
    stage.flushLsn = toLsn(5_400n);
    await waitFor('the next', async () => (await stage.metric('tillstream_reader_lag_bytes')) === 5_000);
    stage.sampler.close();
  });

  it('ends when it is closed', async () => {
    const stage = createStage();
    await waitFor('a sample', () => stage.looks > 0);
    stage.sampler.close();
    const { looks } = stage;
    await delay(50);
    expect(stage.looks).toBeLessThanOrEqual(looks + 1);
    expect(stage.scope.signal.aborted).toBe(false);
  });

  it('ends the start when the session is gone', async () => {
    const stage = createStage({ readSlot: () => Promise.reject(new Error('the session has ended')) });
    await expect(stage.scope.failed).rejects.toThrow('the session has ended');
  });
});

describe('a scope', () => {
  it('closes at once what was opened after the start had failed', async () => {
    const scope = createScope();
    const resources = new AsyncDisposableStack();
    const opening = Promise.withResolvers<string>();
    const closed: string[] = [];
    const opened = scope.open(
      resources,
      () => opening.promise,
      async (name) => {
        closed.push(name);
      },
    );
    scope.fail(new Error('first'));
    scope.fail(new Error('second'));
    await resources.disposeAsync();
    opening.resolve('slot');
    await expect(opened).rejects.toThrow('first');
    expect(closed).toEqual(['slot']);
    await expect(
      scope.open(
        resources,
        async () => 'another',
        async () => {},
      ),
    ).rejects.toThrow('first');
    await expect(scope.race(new Promise(() => undefined))).rejects.toThrow('first');
  });
});

describe('a spool', () => {
  it('can be closed twice, and is not read afterwards: its descriptor may be another file by then', () => {
    const directory = mkdtempSync(join(tmpdir(), 'tillstream-reader-'));
    const spool = new RowSpool(directory);
    spool.addOrder(0, { tag: 0, tuple: Buffer.from('row') });
    spool.close();
    const next = new RowSpool(directory); // takes the number that has become free
    spool.close();
    expect(() => [...spool.orders()]).toThrow('closed');
    next.addOrder(0, { tag: 0, tuple: Buffer.from('its own') });
    expect([...next.orders()][0]!.order!.tuple.toString()).toBe('its own');
    next.close();
    rmSync(directory, { recursive: true });
  });
});
