// Who the captured tables are, at a start: what the first start compares and when, and when a start that would wait for an
// operator halts instead. Kafka, the slot and the snapshot are stood in for; everything in between is the program.
import { describe, expect, it, vi } from 'vitest';
import type { CaptureFingerprint } from '#schemas/capture-fingerprint.ts';
import { type Checkpoint, formatCheckpoint, parseCheckpoint } from '#schemas/checkpoint.ts';
import { decodeOrderPlaced } from '#schemas/codec.ts';
import { LSN_ZERO, toLsn } from '#schemas/lsn.ts';
import { createLogger } from '#service/logger.ts';
import { createMetrics } from '#service/metrics.ts';
import { readCdcReaderConfig } from '../../../../cdc-reader/config.ts';
import { createReaderMetrics } from '../../../../cdc-reader/metrics.ts';
import type { SourceSession } from '../../../../cdc-reader/postgres/source-session.ts';
import { runInitialSnapshot } from '../../../../cdc-reader/startup/initial-snapshot.ts';
import type { StartContext } from '../../../../cdc-reader/startup/session.ts';
import { haltIfTablesChanged } from '../../../../cdc-reader/startup/verified-checkpoint.ts';
import { createScope } from '../../../../cdc-reader/supervise/scope.ts';
import { exampleCapture, exampleTable, visibleCapture } from '../../../support/examples/capture.ts';
import { exampleCheckpoint } from '../../../support/examples/checkpoint.ts';
import { uuid } from '../../../support/examples/pgoutput-messages.ts';
import { goodFacts } from '../../../support/examples/preflight-facts.ts';
import { createRecordingKafka } from '../../../support/kafka/recording-kafka.ts';

const io = vi.hoisted(() => ({
  // biome-ignore lint/suspicious/noExplicitAny: each has the options of what it stands for
  openKafka: async (): Promise<any> => undefined,
  // biome-ignore lint/suspicious/noExplicitAny: see above
  fence: async (): Promise<any> => undefined,
  // biome-ignore lint/suspicious/noExplicitAny: see above
  readSnapshot: (_: any): AsyncGenerator<any> => {
    throw new Error('no snapshot');
  },
}));
vi.mock('../../../../cdc-reader/startup/kafka-connection.ts', () => ({
  READ_DEADLINE_MS: 1_000,
  openKafka: () => io.openKafka(),
  fence: () => io.fence(),
}));
vi.mock('../../../../cdc-reader/postgres/slot.ts', () => ({
  readIdentity: async () => ({
    systemIdentifier: '1',
    database: 'shop',
    timeline: 1,
    history: [],
    serverVersion: 180_000,
  }),
  createSlot: async () => ({ consistentPoint: 0x500n, snapshotName: 'snapshot', close: async () => undefined }),
  dropSlot: async () => undefined,
}));
vi.mock('../../../../cdc-reader/postgres/snapshot.ts', () => ({
  // biome-ignore lint/suspicious/noExplicitAny: see above
  readSnapshotOrders: (options: any) => io.readSnapshot(options),
}));

const config = readCdcReaderConfig({ ORDER_DATABASE_URL: 'postgres://u:p@localhost/shop' });
const logger = createLogger('test', 'silent');

const streaming = exampleCheckpoint({ throughLsn: toLsn(0x100n) });

const swapped = (): CaptureFingerprint =>
  exampleCapture({ tables: { ...exampleCapture().tables, orders: exampleTable('orders', { oid: 17_000 }) } });

/** As the reader wrote it that knew what it holds. */
function recordOf(checkpoint: Checkpoint): Buffer {
  const { capture } = checkpoint;
  if (!('version1' in capture)) return formatCheckpoint(checkpoint);
  const json = JSON.parse(formatCheckpoint(checkpoint).toString());
  return Buffer.from(JSON.stringify({ ...json, version: 1, publicationFingerprint: capture.version1 }));
}

/** Kafka with this newest checkpoint, and a live topic of three partitions. */
function standInForKafka(checkpoint: Checkpoint | null) {
  const kafka = createRecordingKafka();
  const record = (value: Buffer) => ({ topic: config.checkpointTopic, partition: 0, key: 'tillstream', value });
  let isClosed = false;
  io.fence = async () => kafka.producer;
  io.openKafka = async () => ({
    log: {
      readTopicId: async () => null,
      readOffsets: async (topic: string) => {
        const offsets = { earliest: 0n, lastStable: 0n, highWatermark: 0n };
        const count = topic === config.ordersTopic ? 3 : 1;
        return new Map(Array.from({ length: count }, (_, partition) => [partition, offsets]));
      },
    },
    checkpointTopic: {
      record,
      read: async () => ({ record: checkpoint && recordOf(checkpoint), offset: null }),
    },
    hasCheckpointTopic: async () => checkpoint !== null,
    ensureTopics: async () => undefined,
    countLiveOffsets: async () => 0n,
    close: async () => {
      isClosed = true;
    },
  });
  return Object.assign(kafka, { isClosed: () => isClosed });
}

function sourceOf(found: () => CaptureFingerprint, slot: { active: boolean } | null = null) {
  let latest = exampleCapture();
  return {
    roleName: 'reader',
    tryAdvisoryLock: async () => true,
    endUnfinishedSlot: async () => undefined,
    estimateOrders: async () => null,
    readSlot: async () => slot,
    readCapture: async () => {
      latest = found();
      return visibleCapture(latest);
    },
    preflightFacts: async () => ({ ...goodFacts, capture: visibleCapture(latest) }),
    readTableNames: async () => new Map([[16384, { schema: 'public', name: 'orders_old', kind: 'r' }]]),
    readCurrentWal: async () => ({ flushLsn: toLsn(0x200n), timeline: 1, inRecovery: false }),
  } as unknown as SourceSession;
}

describe('the first start', () => {
  const snapshotOrder = (n: number) => ({
    order: {
      order_id: uuid(n),
      user_id: 'ada',
      source: 'cart',
      currency: 'USD',
      total_cents: '5',
      placed_at: '2026-11-20 10:00:00+00',
    },
    items: [{ order_id: uuid(n), line_no: '1', sku: 'tea', quantity: '1', unit_price_cents: '5', cart_line_id: null }],
  });

  /** Two batches of one order each; what the tables are at each moment is a test's to say. */
  async function run(options: {
    checkpoint?: Checkpoint | null;
    inSnapshot?: CaptureFingerprint;
    /** By the number of the Kafka transaction whose check sees it, from 0, the intent. */
    atCheck?: (check: number) => CaptureFingerprint;
    initially?: CaptureFingerprint;
  }) {
    const kafka = standInForKafka(options.checkpoint ?? null);
    io.readSnapshot = async function* (given) {
      await given.onSnapshot?.(async () => [options.inSnapshot ?? exampleCapture()]);
      for (const n of [0, 1]) yield [snapshotOrder(n)];
    };
    let reads = 0;
    const found = () => {
      const check = reads++ - 1; // before the intent, it is read once
      return check < 0 ? (options.initially ?? exampleCapture()) : (options.atCheck?.(check) ?? exampleCapture());
    };
    const context: StartContext = {
      config,
      scope: createScope(),
      logger,
      metrics: createReaderMetrics(createMetrics('test')),
      resources: new AsyncDisposableStack(),
      onProgress: () => undefined,
      onWaiting: () => undefined,
    };
    const error = await runInitialSnapshot(context, sourceOf(found)).catch(
      (thrown: Error & { code?: string }) => thrown,
    );
    const written = kafka.committed.map((records) => {
      const checkpoint = parseCheckpoint(records.find(({ topic }) => topic === config.checkpointTopic)!.value);
      const events = records.filter(({ topic }) => topic === config.ordersTopic);
      return { checkpoint, orders: events.map(({ value }) => decodeOrderPlaced(value).orderId) };
    });
    return { code: (error as { code?: string } | undefined)?.code, written };
  }
  const stepsOf = ({ written }: Awaited<ReturnType<typeof run>>) =>
    written.map(({ checkpoint, orders }) => `${checkpoint.state} ${orders.length}`);

  it('publishes the snapshot, and records who the tables are with each of its checkpoints', async () => {
    const result = await run({});
    expect(result.code).toBeUndefined();
    expect(stepsOf(result)).toEqual(['intent 0', 'snapshot 1', 'snapshot 1', 'streaming 0']);
    for (const { checkpoint } of result.written) expect(checkpoint.capture).toEqual(exampleCapture());
  });

  it.each<[string, CaptureFingerprint, string]>([
    ['a table was swapped', swapped(), 'TABLES_CHANGED'],
    ['the publication was dropped', exampleCapture({ publication: null }), 'PUBLICATION_CHANGED'],
  ])(
    'halts where %s between its intent and its snapshot, and publishes nothing of that',
    async (_, inSnapshot, code) => {
      const result = await run({ inSnapshot });
      expect(result.code).toBe(code);
      expect(stepsOf(result)).toEqual(['intent 0']);
    },
  );

  it.each([
    [0, []],
    [1, ['intent 0']],
    [2, ['intent 0', 'snapshot 1']],
    [3, ['intent 0', 'snapshot 1', 'snapshot 1']],
  ])(
    'halts where the check beside its Kafka transaction %i finds other tables, and does not commit that',
    async (changed, steps) => {
      const result = await run({ atCheck: (check) => (check >= changed ? swapped() : exampleCapture()) });
      expect(result.code).toBe('TABLES_CHANGED');
      expect(stepsOf(result)).toEqual(steps);
    },
  );

  const lastPublished = { commitLsn: toLsn(0x400n), ordinal: 0, orderId: uuid(9), ordersHash: '' };
  const interrupted = { ...streaming, state: 'snapshot' as const, throughLsn: LSN_ZERO };

  it('halts where an earlier attempt has published orders of other tables', async () => {
    const result = await run({ checkpoint: { ...interrupted, lastPublished, capture: swapped() } });
    expect(result.code).toBe('TABLES_CHANGED');
    expect(stepsOf(result)).toEqual([]);
  });

  it('halts where an earlier attempt of version 1 has published orders of another publication', async () => {
    const capture = { version1: 'publication 1/1; tables none; schemas none' };
    expect((await run({ checkpoint: { ...interrupted, lastPublished, capture } })).code).toBe('PUBLICATION_CHANGED');
  });

  it('begins anew with the tables of today where an earlier attempt has published nothing', async () => {
    const result = await run({ checkpoint: { ...interrupted, state: 'intent', capture: swapped() } });
    expect(stepsOf(result)[0]).toBe('intent 0');
    expect(result.written[0]!.checkpoint.capture).toEqual(exampleCapture());
  });
});

describe('a start with problems that only an operator can mend', () => {
  const gone = exampleCapture({ tables: { ...exampleCapture().tables, orders: null } });
  const slot = { active: false };
  const judge = (
    found: CaptureFingerprint,
    at: { slot?: { active: boolean } | null; checkpoint?: Checkpoint | null },
  ) => {
    const kafka = standInForKafka(at.checkpoint === undefined ? streaming : at.checkpoint);
    const source = sourceOf(() => found, at.slot === undefined ? slot : at.slot);
    return { kafka, judged: haltIfTablesChanged({ config, logger }, source, found) };
  };

  it.each<[string, CaptureFingerprint]>([
    ['gone', gone],
    ['another one', swapped()],
    ['unlogged', exampleCapture({ tables: { ...gone.tables, orders: exampleTable('orders', { persistence: 'u' }) } })],
  ])('halts where a captured table is %s under a checkpoint, and says where it is now', async (_, found) => {
    const { kafka, judged } = judge(found, {});
    await expect(judged).rejects.toMatchObject({
      code: 'TABLES_CHANGED',
      details: { throughLsn: '0/100', flushLsn: '0/200' },
    });
    await expect(judged).rejects.toThrow('is now public.orders_old');
    expect(kafka.isClosed()).toBe(true);
  });

  it.each<[string, CaptureFingerprint, Parameters<typeof judge>[1]]>([
    ['nothing has changed', exampleCapture(), {}],
    ['only the publication has', exampleCapture({ publication: null }), {}],
    [
      'a table has a child, which can be taken from it',
      exampleCapture({
        tables: { ...gone.tables, orders: exampleTable('orders', { children: 1, hadChildren: true }) },
      }),
      {},
    ],
    ['another reader streams', gone, { slot: { active: true } }],
    ['there is no checkpoint', gone, { checkpoint: null }],
    ['the first start is not done', gone, { checkpoint: { ...streaming, state: 'snapshot' } }],
    ['the checkpoint is of another cluster', gone, { checkpoint: { ...streaming, systemIdentifier: '2' } }],
    ['the checkpoint is of another database', gone, { checkpoint: { ...streaming, database: 'other' } }],
  ])('waits where %s', async (_, found, at) => {
    await expect(judge(found, at).judged).resolves.toBeUndefined();
  });

  it('waits while Kafka can not be asked', async () => {
    standInForKafka(streaming);
    io.openKafka = () => Promise.reject(new Error('Kafka is away'));
    await expect(
      haltIfTablesChanged(
        { config, logger },
        sourceOf(() => gone, slot),
        gone,
      ),
    ).resolves.toBeUndefined();
  });
});
