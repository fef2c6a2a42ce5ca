// The data path of one start between a stream, a database session and a Kafka that only take notes: what a test tells the
// stream to bring, what is committed and acknowledged, and in which order. Nothing in it waits for a clock but the program.

import { type Checkpoint, parseCheckpoint } from '#schemas/checkpoint.ts';
import { decodeOrderPlaced } from '#schemas/codec.ts';
import { type Lsn, toLsn } from '#schemas/lsn.ts';
import { createLogger } from '#service/logger.ts';
import { createMetrics } from '#service/metrics.ts';
import { readCdcReaderConfig } from '../../../cdc-reader/config.ts';
import { createReaderMetrics } from '../../../cdc-reader/metrics.ts';
import { runPipeline } from '../../../cdc-reader/pipeline/pipeline.ts';
import type { PgoutputMessage } from '../../../cdc-reader/postgres/pgoutput.ts';
import type { ReaderSession } from '../../../cdc-reader/startup/session.ts';
import { createScope, type Scope } from '../../../cdc-reader/supervise/scope.ts';
import { exampleCapture, exampleOids, visibleCapture } from '../examples/capture.ts';
import { exampleCheckpoint } from '../examples/checkpoint.ts';
import { insertOf } from '../examples/decode-tuple.ts';
import { itemsRelation, itemTuple, ordersRelation, orderTuple, uuid } from '../examples/pgoutput-messages.ts';
import { createRecordingKafka } from '../kafka/recording-kafka.ts';
import { parseMetrics } from '../process/prometheus-text.ts';
import { waitFor } from '../wait.ts';

export const at = (value: number): Lsn => toLsn(BigInt(value));

/** Idle progress is due only when an answer is wanted, unless a test makes the interval short. */
const calm = { IDLE_CHECKPOINT_MS: '600000' };

/** What a test may set of runPipeline's options. */
type RunOptions = Pick<Parameters<typeof runPipeline>[0], 'drainLimitMs' | 'isolateThroughLsn'>;

export type Stage = ReturnType<typeof createStage>;
const scopes: Scope[] = [];

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
  const scope = createScope();
  const inlet: ReaderSession['inlet'] = { receiver: undefined };
  const bring = (message: PgoutputMessage): void => inlet.receiver?.onMessage(message);
  const stop = new AbortController();
  const metrics = createMetrics('test');
  const effects: string[] = [];
  const stream = { isPaused: true, resumes: 0, acknowledged: [] as bigint[] };
  const stage = { found: exampleCapture() };
  const session = {
    source: {
      roleName: 'reader',
      readCapture: async () => visibleCapture(stage.found),
      awaitVisible: async () => undefined,
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
    inlet,
    producer: kafka.producer,
    checkpointTopic: {
      record: (value: Buffer) => ({ topic: config.checkpointTopic, partition: 0, key: 'tillstream', value }),
      read: async () => ({ record: null, offset: null }),
    },
    checkpoint: exampleCheckpoint(options.checkpoint),
    nextOffsets: [0n, 0n, 0n],
  } as unknown as ReaderSession;
  const run = (more: RunOptions = {}): Promise<void> => {
    const readerMetrics = createReaderMetrics(metrics, () => options.nowMs ?? 0);
    const logger = createLogger('test', 'silent');
    const running = runPipeline({
      config,
      session,
      scope,
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
    bring({ kind: 'begin', commitLsn: at(commitLsn), committedAt, xid: 7 });
  };
  const commit = (commitLsn: number, endLsn: number): void => {
    bring({ kind: 'commit', commitLsn: at(commitLsn), endLsn: at(endLsn), committedAt: 5n });
  };
  const orderRow = (id: string, placedAt = '2026-11-20 10:00:00+00', currency = 'USD'): void => {
    const row = [id, 'ada', 'placed', 'cart', currency, '5', placedAt];
    bring(insertOf(exampleOids.orders, orderTuple(row)));
  };
  const itemRow = (id: string, sku = 'tea'): void => {
    const row = [id, '1', sku, '1', '5', null];
    bring(insertOf(exampleOids.order_items, itemTuple(row)));
  };
  /** `currency` makes it as large as one likes. */
  const order = (currency?: string): void => {
    const id = uuid(nextOrder++);
    orderRow(id, undefined, currency);
    itemRow(id);
  };
  const created = Object.assign(stage, {
    config,
    kafka,
    scope,
    bring,
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
      bring(ordersRelation);
      bring(itemsRelation);
    },
    /** A database transaction of `orders` orders, from BEGIN to COMMIT. */
    transaction(commitLsn: number, endLsn: number, orders = 1) {
      begin(commitLsn);
      for (let n = 0; n < orders; n++) order();
      commit(commitLsn, endLsn);
    },
    keepalive: (walEnd: number, replyRequested = false) =>
      inlet.receiver?.onKeepalive({ walEnd: at(walEnd), replyRequested }),
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
  scopes.push(scope);
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
  for (const scope of scopes.splice(0)) scope.fail(new Error('the test has ended'));
}
