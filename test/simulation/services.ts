// The reader and the sink as processes of the simulation: the real ones from createReader and createSink downwards,
// over the models. A process can be started, told to stop, and killed by the world; what it halts with is kept.
import './stand-ins.ts';
import { KafkaUnavailableError } from '#kafka/errors.ts';
import type { CaptureFingerprint } from '#schemas/capture-fingerprint.ts';
import { toLsn } from '#schemas/lsn.ts';
import type { HaltError } from '#service/halt.ts';
import { createLogger } from '#service/logger.ts';
import { createMetrics } from '#service/metrics.ts';
import { createPipelineHealth } from '#service/pipeline-health.ts';
import { readCartSinkConfig } from '../../cart-sink/config.ts';
import { createSink } from '../../cart-sink/consume/sink.ts';
import { classifySinkFailure } from '../../cart-sink/errors.ts';
import { createSinkReporter } from '../../cart-sink/metrics.ts';
import { readCdcReaderConfig } from '../../cdc-reader/config.ts';
import { createReaderMetrics } from '../../cdc-reader/metrics.ts';
import { StreamLostError } from '../../cdc-reader/postgres/stream-errors.ts';
import { classifyReaderFailure } from '../../cdc-reader/supervise/classify-failure.ts';
import { createReader } from '../../cdc-reader/supervise/reader.ts';
import type { ModelCarts } from './model/carts.ts';
import type { ModelGroup } from './model/group.ts';
import { LIVE, type ModelKafka, TRANSACTION_TIMEOUT_MS } from './model/kafka.ts';
import { openLog, openProducer, openReaderConnection } from './model/kafka-clients.ts';
import type { ModelPostgres, PlacedOrder } from './model/postgres.ts';
import { formatOrder, openSession, openStream } from './model/stream.ts';
import { stage } from './stage.ts';
import type { Process, World } from './world.ts';

export interface Models {
  readonly world: World;
  readonly postgres: ModelPostgres;
  readonly kafka: ModelKafka;
  readonly group: ModelGroup;
  readonly carts: ModelCarts;
}

export interface Service {
  readonly kind: 'reader' | 'sink';
  readonly process: Process;
  /** Undefined before its first step. */
  close: (() => Promise<void>) | undefined;
  isStopping: boolean;
}

type OnHalt = (error: HaltError) => void;

/** A huge transaction is one of more than three orders; half of Kafka's transaction timeout is a slow operation. */
const readerConfig = readCdcReaderConfig({
  ORDER_DATABASE_URL: 'postgres://u:p@localhost/shop',
  GROUP_MAX_ORDERS: '3',
  IDLE_CHECKPOINT_MS: '1000',
  TRANSACTION_TIMEOUT_MS: String(TRANSACTION_TIMEOUT_MS),
  SPILL_BYTES: '2048',
});
const sinkConfig = readCartSinkConfig({ CART_DATABASE_URL: 'postgres://u:p@localhost/carts', BATCH_MAX_RECORDS: '3' });
const logger = createLogger('simulation', 'silent');
const readerMetrics = createReaderMetrics(createMetrics('simulation'), () => 0);
const reporter = createSinkReporter(createMetrics('simulation'), logger);

const SNAPSHOT_BATCH = 2;
const lost = () => new StreamLostError('the connection broke');

/** Connects what the services open to these models, until the next call. */
export function setStage(models: Models): void {
  const { world, postgres, kafka, group } = models;
  const snapshots = new Map<string, { orders: readonly PlacedOrder[]; capture: CaptureFingerprint }>();
  stage.world = world;
  stage.io = {
    createReplicationStream: (process, { handlers }) =>
      world.read('takes the slot', () => openStream(postgres, process, handlers), lost),
    createSourceSession: (process, { onEnd }) =>
      world.read('opens a session', () => openSession(postgres, process, onEnd), lost),
    readIdentity: () =>
      world.read(
        'reads the identity',
        () => {
          const { systemIdentifier, timeline, history, end } = postgres;
          return {
            systemIdentifier,
            database: 'shop',
            timeline,
            history,
            flushLsn: toLsn(end),
            serverVersion: 180_000,
          };
        },
        lost,
      ),
    createSlot: () =>
      world.request(
        'creates the slot',
        () => {
          if (postgres.slot !== null) throw new Error('the slot exists already');
          const consistentPoint = postgres.createSlot();
          const snapshotName = `snapshot at ${consistentPoint}`;
          const orders = postgres.wal.flatMap((commit) => commit.orders);
          snapshots.set(snapshotName, { orders, capture: postgres.capture });
          return { consistentPoint, snapshotName, close: async () => undefined };
        },
        lost,
      ),
    dropSlot: () =>
      world.request(
        'drops the slot',
        () => {
          postgres.slot?.holder?.end(undefined);
          postgres.slot = null;
        },
        lost,
      ),
    async *readSnapshotOrders(_, { snapshotName, onSnapshot, select }) {
      const { orders, capture } = snapshots.get(snapshotName)!;
      await onSnapshot(() => world.read('reads who the tables of the snapshot are', () => [capture], lost));
      // The snapshot comes by the time of placing: in the model, that of committing.
      const sorted = orders.map(formatOrder).map(({ order, items }, index) => {
        const placedAt = new Date(1_000 * index).toISOString().replace(/T(.*)\.\d+Z/, ' $1+00');
        return { order: { ...order, placed_at: placedAt }, items };
      });
      for (let at = 0; at < sorted.length; at += SNAPSHOT_BATCH) {
        const batch: typeof sorted = await world.read(
          'reads the snapshot',
          () => sorted.slice(at, at + SNAPSHOT_BATCH),
          lost,
        );
        const selected = new Set(await select(batch.map(({ order }) => order)));
        yield batch.filter(({ order }) => selected.has(order));
      }
    },
    openKafka: async () => openReaderConnection(world, kafka),
    fence: () => openProducer(world, kafka),
    createKafkaLog: async () => openLog(world, kafka),
    waitForTopics: () =>
      world.read(
        'looks for the topics',
        () => ({ topics: [LIVE], problems: [] }),
        () => new KafkaUnavailableError('away'),
      ),
    createGroupConsumer: (process, { handlers }) => group.join(process, handlers),
  };
}

export function startReader({ world }: Models, name: string, faults: number, onHalt: OnHalt): Service {
  const service = createService('reader', world.createProcess(name, faults));
  const run = (): void => {
    const halts = createHalts(service, world, onHalt);
    const health = createPipelineHealth({
      metrics: createMetrics('cdc-reader'),
      logger,
      classify: classifyReaderFailure,
    });
    service.close = createReader({ config: readerConfig, logger, metrics: readerMetrics, halts, health }).close;
  };
  world.enqueue({ owner: service.process, label: 'starts', run });
  return service;
}

export function startSink({ world, carts }: Models, name: string, faults: number, onHalt: OnHalt): Service {
  const service = createService('sink', world.createProcess(name, faults));
  const run = (): void => {
    const pool = carts.openPool(service.process);
    const database = { pool, transaction: pool.tx } as unknown as Parameters<typeof createSink>[0]['database'];
    const halt = createHalts(service, world, onHalt);
    const health = createPipelineHealth({ metrics: createMetrics('cart-sink'), logger, classify: classifySinkFailure });
    service.close = createSink({
      config: sinkConfig,
      database,
      halt,
      health,
      reporter,
      logger,
    }).close;
  };
  world.enqueue({ owner: service.process, label: 'starts', run });
  return service;
}

function createService(kind: Service['kind'], process: Process): Service {
  return { kind, process, close: undefined, isStopping: false };
}

function createHalts({ process }: Service, world: World, onHalt: OnHalt) {
  const halt = (error: HaltError): void => {
    world.note(`!!! ${process.name} halts: ${error.code}: ${error.message}`);
    onHalt(error);
  };
  return { halt, haltPartition: halt, releasePartitions: () => undefined, current: () => undefined };
}
