/**
 * The process of the cart sink: the cart API, and beside it the sink that takes ordered goods out of the carts; or one of
 * them alone (parts.ts).
 *
 * The API listens at once and keeps serving whatever happens to the sink. The consumer alone has health and metrics only,
 * and is ready by its pipeline.
 */
import process from 'node:process';
import { setTimeout as delay } from 'node:timers/promises';
import { checkKafka } from '#kafka/describe-cluster.ts';
import { classifyKafkaFailure } from '#kafka/failure.ts';
import { limitExpandedBatches } from '#kafka/protocol/record-batch.ts';
import { type Access, createAccess } from '#service/auth/access.ts';
import { checkConfig } from '#service/command-line/check-config.ts';
import type { Database } from '#service/database.ts';
import { createHaltState } from '#service/halt.ts';
import { createRecentEvents } from '#service/http/recent-events.ts';
import { createHttpServer, type ZodFastifyInstance } from '#service/http-server.ts';
import { createLogger, type Logger } from '#service/logger.ts';
import { createMetrics, type Metrics } from '#service/metrics.ts';
import { createPipelineHealth, type PipelineHealth } from '#service/pipeline-health.ts';
import { certificatesOfServer } from '#service/postgres/database-server.ts';
import { checkPostgres } from '#service/postgres/describe-server.ts';
import { reportPools } from '#service/postgres/pool-load.ts';
import { warnOfUndecidedTls } from '#service/postgres/variables.ts';
import { watchCertificates } from '#service/security/certificate-expiry.ts';
import { type RunningService, runService } from '#service/shutdown.ts';
import { forgetOldKeys } from './cart-api/forget-keys.ts';
import {
  createDatabaseProbe,
  formatPipeline,
  formatReadiness,
  readyByPipeline,
  type SinkCondition,
} from './cart-api/readiness.ts';
import { createCartServer } from './cart-api/server.ts';
import { type CartSinkConfig, readCartSinkConfig } from './config.ts';
import { createSink, type Sink } from './consume/sink.ts';
import { openDatabases } from './databases.ts';
import { classifySinkFailure } from './errors.ts';
import { createSinkReporter, type SinkReporter } from './metrics.ts';
import { migrateCarts } from './migrate-carts.ts';
import { createCartsStatus } from './operations/carts-status.ts';
import { addSinkOperations } from './operations/routes.ts';
import { reportStatus } from './operations/status-metrics.ts';
import { readParts } from './parts.ts';
import { checkTables } from './sql/check-tables.ts';

const SERVICE = 'cart-sink';
/** Between two checks whether someone has migrated the database; one costs nothing. */
const CHECK_TABLES_EVERY_MS = 500;

async function start(stopping: AbortSignal): Promise<RunningService> {
  const parts = readParts(process.argv);
  const config = readCartSinkConfig(process.env, parts);
  limitExpandedBatches(config.maxExpandedBatchBytes);
  const events = createRecentEvents();
  const logger = createLogger(SERVICE, config.logLevel, events.note);
  warnOfUndecidedTls(config.cartDatabaseUrl, logger);
  const metrics = createMetrics(SERVICE, config.commit);
  watchCertificates([...certificatesOfServer(config.cartDatabase), ...config.kafka.certificates], metrics, logger);
  const halt = createHaltState(metrics, logger);
  const health = createPipelineHealth({ metrics, logger, classify: classifySinkFailure });
  const reporter = createSinkReporter(metrics, logger);
  const databases = openDatabases(config, logger);
  const probed = parts.api ? databases.carts : databases.sink;
  const probeDatabase = createDatabaseProbe(() => probed.pool.query(checkTables));
  reportPools(metrics, parts.api ? databases : { sink: databases.sink, status: databases.status });
  const closing = new AbortController();
  let migrated = false;
  let sink: Sink | undefined;

  const condition = (): Omit<SinkCondition, 'database'> => ({
    migrated,
    consumes: parts.consumer,
    sink,
    topics: [config.ordersTopic, config.replayTopic],
    halt: halt.current(),
  });
  const access = createAccess(config.tokenRules, { logger, metrics });
  const frame = {
    service: SERVICE,
    host: config.host,
    allowedHosts: config.allowedHosts,
    port: config.port,
    operations: config.operations,
    shutdownDelayMs: config.shutdownDelayMs,
    logger,
    metrics,
    events,
    pipeline: () => formatPipeline(condition(), health),
    // The role of the cart API alone may not read what these show.
    addOperations: parts.consumer ? createSinkOperations(config, databases.status, access, logger, metrics) : undefined,
  };
  const readiness = async () => formatReadiness({ ...condition(), database: await probeDatabase() });
  const server = parts.api
    ? await createCartServer({
        ...frame,
        access,
        trustedProxies: config.trustedProxies,
        requestsPerMinute: config.requestsPerMinute,
        database: databases.carts,
        isMigrated: () => migrated,
        readiness,
      })
    : await createHttpServer({ ...frame, readiness: async () => readyByPipeline(await readiness(), frame.pipeline()) });
  await server.listen();

  const consume = async (): Promise<void> => {
    await prepareTables({ config, logger, health, reporter, probeDatabase, signal: closing.signal });
    if (closing.signal.aborted) return;
    migrated = true;
    if (!parts.consumer) return;
    sink = createSink({ config, database: databases.sink, halt, health, reporter, logger });
    // Over the sink's connections, so that no shopper's request waits for one.
    await forgetOldKeys({ database: databases.sink.pool, logger, metrics, signal: closing.signal });
  };
  // A migration that is running when the process is stopped is cut off with it, and its transaction rolled back.
  consume().catch((error) => {
    if (!closing.signal.aborted) throw error;
  });
  stopping.addEventListener('abort', () => closing.abort());

  return {
    logger,
    shutdownDelayMs: config.shutdownDelayMs,
    close: async () => {
      closing.abort();
      await Promise.all([server.close(), sink?.close()]);
      await Promise.all([databases.carts.close(), databases.sink.close(), databases.status.close()]);
    },
  };
}

interface Preparation {
  readonly config: CartSinkConfig;
  readonly logger: Logger;
  readonly health: PipelineHealth;
  readonly reporter: SinkReporter;
  readonly probeDatabase: ReturnType<typeof createDatabaseProbe>;
  readonly signal: AbortSignal;
}

/**
 * Resolves once the database is migrated, by this process or by another. A migration that fails is tried for ever: the cause is
 * gone one day, and the carts need this process until then. Rejects when `signal` is aborted.
 */
async function prepareTables({ config, logger, health, reporter, probeDatabase, signal }: Preparation): Promise<void> {
  while (!config.migrate) {
    if ((await probeDatabase()) === 'reachable') return;
    await delay(CHECK_TABLES_EVERY_MS, undefined, { signal });
  }
  for (;;) {
    try {
      await migrateCarts({ postgres: config.cartDatabase, logger });
      return health.working();
    } catch (error) {
      const { name } = health.failed(error);
      const waitMs = Math.round(health.delayMs(Math.random()));
      reporter.retrying(name, error, waitMs);
      await delay(waitMs, undefined, { signal });
    }
  }
}

function createSinkOperations(
  config: CartSinkConfig,
  database: Database,
  access: Access,
  logger: Logger,
  metrics: Metrics,
) {
  const { consumerGroup, ordersTopic, replayTopic, operations, tokenRules, authNoneIsFine } = config;
  const readStatus = createCartsStatus({ database, consumerGroup, topics: [ordersTopic, replayTopic], logger });
  reportStatus(metrics, readStatus);
  const port = {
    host: operations?.host ?? config.host,
    access: tokenRules === undefined ? undefined : access,
    isOpen: authNoneIsFine === 'yes',
  };
  return (app: ZodFastifyInstance): void => addSinkOperations(app, { readStatus, database, port });
}

async function check(): Promise<number> {
  const parts = readParts(process.argv);
  const { cartDatabase, kafka, ordersTopic, replayTopic } = readCartSinkConfig(process.env, parts);
  const checks = [
    checkPostgres('carts database', cartDatabase, [
      'cart_lines',
      'consumer_offsets',
      'applied_orders',
      'parked_events',
    ]),
    ...(parts.consumer ? [checkKafka(kafka, [ordersTopic, replayTopic], createLogger(SERVICE, 'silent'))] : []),
  ];
  return checkConfig(checks, classifyKafkaFailure, (text) => process.stdout.write(text));
}

await runService({ service: SERVICE, process, start, check });
