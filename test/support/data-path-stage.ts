// The data path of one start between a stream, a database session and a Kafka that only take notes: what a test tells the
// stream to bring, what is committed and acknowledged, and in which order. Nothing in it waits for a clock but the program.

import { type Checkpoint, parseCheckpoint } from '#schemas/checkpoint.ts';
import { decodeOrderPlaced } from '#schemas/codec.ts';
import { type Lsn, toLsn } from '#schemas/lsn.ts';
import { createLogger } from '#service/logger.ts';
import { createMetrics } from '#service/metrics.ts';
import { readCdcReaderConfig } from '../../cdc-reader/config.ts';
import { createReaderMetrics } from '../../cdc-reader/metrics.ts';
import { runPipeline } from '../../cdc-reader/pipeline/pipeline.ts';
import { createStreamRelay } from '../../cdc-reader/pipeline/stream-relay.ts';
import type { ReaderSession } from '../../cdc-reader/startup/start-up.ts';
import { createLifeline, type Lifeline } from '../../cdc-reader/supervise/lifeline.ts';
import { exampleCapture, exampleOids, visibleCapture } from './capture.ts';
import { itemsRelation, itemTuple, ordersRelation, orderTuple, uuid } from './pgoutput-messages.ts';
import { parseMetrics } from './prometheus-text.ts';
import { createRecordingKafka } from './recording-kafka.ts';
import { waitFor } from './wait.ts';

export const at = (value: number): Lsn => toLsn(BigInt(value));

const start: Checkpoint = {
  state: 'streaming',
  systemIdentifier: '1',
  database: 'shop',
  slotName: 'tillstream',
  timeline: 1,
  history: [],
  generation: 1,
  partitions: 3,
  lastPublished: null,
  throughLsn: at(10),
  partial: null,
  nextOffsets: [0n, 0n, 0n],
  capture: exampleCapture(),
  gaps: [],
  windowMarks: [],
};

/** Idle progress is due only when an answer is wanted, unless a test makes the interval short. */
const calm = { IDLE_CHECKPOINT_MS: '600000' };

/** What a test may set of runPipeline's options. */
type RunOptions = Pick<Parameters<typeof runPipeline>[0], 'drainLimitMs' | 'isolateThroughLsn'>;

export type Stage = ReturnType<typeof createStage>;
const lifelines: Lifeline[] = [];

export function createStage(
  options: {
    env?: Record<string, string>;
    checkpoint?: Partial<Checkpoint>;
    nowMs?: number;
    kafka?: Parameters<typeof createRecordingKafka>[0];
  } = {},
) {
  const config = readCdcReaderConfig({ ORDER_DATABASE_URL: 'postgres://u:p@localhost/shop', ...calm, ...options.env });
  const kafka = createRecordingKafka(options.kafka);
  const lifeline = createLifeline();
  const relay = createStreamRelay(lifeline);
  const stop = new AbortController();
  const metrics = createMetrics('test');
  const effects: string[] = [];
  const stream = { isPaused: true, resumes: 0, acknowledged: [] as bigint[] };
  const stage = { found: exampleCapture() };
  const session = {
    source: {
      roleName: 'reader',
      readCapture: async () => visibleCapture(stage.found),
      readTableNames: async () => new Map(),
      readCurrentWal: async () => ({ flushLsn: toLsn(1_000n), timeline: 1, inRecovery: false }),
    },
    stream: {
      identity: { timeline: 1, history: [] },
      pause() {
        stream.isPaused = true;
      },
      resume() {
        stream.isPaused = false;
        stream.resumes += 1;
      },
      acknowledge(throughLsn: Lsn) {
        stream.acknowledged.push(throughLsn);
        effects.push(`acknowledge ${throughLsn} after ${kafka.committed.length} commits`);
      },
    },
    relay,
    producer: kafka.producer,
    checkpointTopic: {
      record: (value: Buffer) => ({ topic: config.checkpointTopic, partition: 0, key: 'tillstream', value }),
      read: async () => ({ record: null, offset: null }),
    },
    checkpoint: { ...start, ...options.checkpoint },
    nextOffsets: [0n, 0n, 0n],
  } as unknown as ReaderSession;
  const run = (more: RunOptions = {}): Promise<void> => {
    const readerMetrics = createReaderMetrics(metrics, () => options.nowMs ?? 0);
    const logger = createLogger('test', 'silent');
    const running = runPipeline({
      config,
      session,
      lifeline,
      stop: stop.signal,
      metrics: readerMetrics,
      logger,
      ...more,
    });
    running.catch(() => undefined); // most tests look at it later
    return running;
  };
  let nextOrder = 0;
  const begin = (commitLsn: number, committedAt = 5n): void => {
    relay.onMessage({ kind: 'begin', commitLsn: at(commitLsn), committedAt, xid: 7 });
  };
  const commit = (commitLsn: number, endLsn: number): void => {
    relay.onMessage({ kind: 'commit', commitLsn: at(commitLsn), endLsn: at(endLsn), committedAt: 5n });
  };
  const orderRow = (id: string, placedAt = '2026-11-20 10:00:00+00'): void => {
    const row = [id, 'ada', 'placed', 'cart', 'USD', '5', placedAt];
    relay.onMessage({ kind: 'insert', relationOid: exampleOids.orders, tuple: orderTuple(row) });
  };
  const itemRow = (id: string, sku = 'tea'): void => {
    const row = [id, '1', sku, '1', '5', null];
    relay.onMessage({ kind: 'insert', relationOid: exampleOids.order_items, tuple: itemTuple(row) });
  };
  const order = (sku = 'tea'): void => {
    const id = uuid(nextOrder++);
    orderRow(id);
    itemRow(id, sku);
  };
  const created = Object.assign(stage, {
    config,
    kafka,
    lifeline,
    relay,
    stop,
    stream,
    effects,
    run,
    begin,
    orderRow,
    itemRow,
    order,
    commit,
    describeTables() {
      relay.onMessage(ordersRelation);
      relay.onMessage(itemsRelation);
    },
    /** A database transaction of `orders` orders, from BEGIN to COMMIT. */
    transaction(commitLsn: number, endLsn: number, orders = 1) {
      begin(commitLsn);
      for (let n = 0; n < orders; n++) order();
      commit(commitLsn, endLsn);
    },
    keepalive: (walEnd: number, replyRequested = false) => relay.onKeepalive({ walEnd: at(walEnd), replyRequested }),
    checkpoints: () =>
      kafka.committed.map((records) =>
        parseCheckpoint(records.find(({ topic }) => topic === config.checkpointTopic)!.value),
      ),
    positions: () =>
      kafka.committed.map((records) =>
        records
          .filter(({ topic }) => topic === config.ordersTopic)
          .map(({ value }) => decodeOrderPlaced(value))
          .map(({ commitLsn, ordinal }) => `${commitLsn}:${ordinal}`),
      ),
    metric: async (name: string) => parseMetrics(await metrics.render()).get(name),
  });
  lifelines.push(lifeline);
  return created;
}

/** Runs it up to where it streams. */
export async function streaming(options: Parameters<typeof createStage>[0] = {}, more: RunOptions = {}) {
  const stage = createStage(options);
  const running = stage.run(more);
  await waitFor('the stream to be read', () => !stage.stream.isPaused);
  stage.describeTables();
  return Object.assign(stage, { running });
}

export const committed = (stage: Stage, count: number) =>
  waitFor(`${count} Kafka transactions`, () => stage.kafka.committed.length >= count);

/** Ends what is still running, after each test. */
export function endStages(): void {
  for (const lifeline of lifelines.splice(0)) lifeline.fail(new Error('the test has ended'));
}
