/**
 * The process of the cart sink: the cart API, and beside it the sink that takes ordered goods out of the carts.
 *
 * The API listens at once and keeps serving whatever happens to the sink. Each has a connection pool of its own, so a
 * backlog never makes a shopper wait for a connection.
 */
import process from 'node:process';
import { setTimeout as delay } from 'node:timers/promises';
import { checkKafka } from '#kafka/describe-cluster.ts';
import { classifyKafkaFailure } from '#kafka/failure.ts';
import { limitExpandedBatches } from '#kafka/protocol/record-batch.ts';
import { createAccess } from '#service/auth/access.ts';
import { checkConfig } from '#service/command-line/check-config.ts';
import { createDatabase } from '#service/database.ts';
import { createHaltState } from '#service/halt.ts';
import { createLogger, type Logger } from '#service/logger.ts';
import { createMetrics } from '#service/metrics.ts';
import { createPipelineHealth } from '#service/pipeline-health.ts';
import { certificatesOfServer } from '#service/postgres/database-server.ts';
import { checkPostgres } from '#service/postgres/describe-server.ts';
import { warnOfUndecidedTls } from '#service/postgres/variables.ts';
import { watchCertificates } from '#service/security/certificate-expiry.ts';
import { type RunningService, runService } from '#service/shutdown.ts';
import { forgetOldKeys } from './cart-api/forget-keys.ts';
import { createDatabaseProbe, formatPipeline, formatReadiness, type SinkCondition } from './cart-api/readiness.ts';
import { createCartServer } from './cart-api/server.ts';
import { type CartSinkConfig, readCartSinkConfig } from './config.ts';
import { createSink, type Sink } from './consume/sink.ts';
import { classifySinkFailure } from './errors.ts';
import { createSinkReporter } from './metrics.ts';
import { migrateCarts } from './migrate-carts.ts';
import { checkTables } from './sql/check-tables.ts';

const SERVICE = 'cart-sink';
/** A cart request is a few short statements; a client that would wait longer is better told to retry. */
const CART_STATEMENT_TIMEOUT_MS = 5_000;
const CART_LOCK_TIMEOUT_MS = 3_000;
const CART_IDLE_TIMEOUT_MS = 5_000;
const CONNECT_TIMEOUT_MS = 3_000;
const ACQUIRE_TIMEOUT_MS = 3_000;
/** Between two checks whether someone has migrated the database; one costs nothing. */
const CHECK_TABLES_EVERY_MS = 500;

function openDatabases(config: CartSinkConfig, logger: Logger) {
  const connection = {
    postgres: config.cartDatabase,
    connectTimeoutMs: CONNECT_TIMEOUT_MS,
    acquireTimeoutMs: ACQUIRE_TIMEOUT_MS,
    logger,
  };
  return {
    carts: createDatabase({
      ...connection,
      applicationName: 'tillstream-cart-api',
      poolSize: config.cartPoolSize,
      statementTimeoutMs: CART_STATEMENT_TIMEOUT_MS,
      lockTimeoutMs: CART_LOCK_TIMEOUT_MS,
      idleInTransactionTimeoutMs: CART_IDLE_TIMEOUT_MS,
    }),
    sink: createDatabase({
      ...connection,
      applicationName: 'tillstream-cart-sink',
      // Common transactions, and batches by themselves; one more, since taking partitions over must not wait for them.
      poolSize: 2 * config.sinkConcurrency + 1,
      statementTimeoutMs: config.statementTimeoutMs,
      lockTimeoutMs: config.lockTimeoutMs,
      idleInTransactionTimeoutMs: config.idleInTransactionTimeoutMs,
    }),
  };
}

async function start(stopping: AbortSignal): Promise<RunningService> {
  const config = readCartSinkConfig(process.env);
  limitExpandedBatches(config.maxExpandedBatchBytes);
  const logger = createLogger(SERVICE, config.logLevel);
  warnOfUndecidedTls(config.cartDatabaseUrl, logger);
  const metrics = createMetrics(SERVICE, config.commit);
  watchCertificates([...certificatesOfServer(config.cartDatabase), ...config.kafka.certificates], metrics, logger);
  const halt = createHaltState(metrics, logger);
  const health = createPipelineHealth({ metrics, logger, classify: classifySinkFailure });
  const reporter = createSinkReporter(metrics, logger);
  const databases = openDatabases(config, logger);
  const probeDatabase = createDatabaseProbe(() => databases.carts.pool.query(checkTables));
  const closing = new AbortController();
  let migrated = false;
  let sink: Sink | undefined;

  const condition = (): Omit<SinkCondition, 'database'> => ({
    migrated,
    sink,
    topics: [config.ordersTopic, config.replayTopic],
    halt: halt.current(),
  });
  const server = await createCartServer({
    host: config.host,
    allowedHosts: config.allowedHosts,
    port: config.port,
    operations: config.operations,
    access: createAccess(config.tokenRules, { logger, metrics }),
    database: databases.carts,
    logger,
    metrics,
    isMigrated: () => migrated,
    readiness: async () => formatReadiness({ ...condition(), database: await probeDatabase() }),
    pipeline: () => formatPipeline(condition(), health),
  });
  await server.listen();

  // A migration that fails is tried for ever: the cause is gone one day, and the carts need this process until then.
  const migrate = async (): Promise<void> => {
    for (;;) {
      try {
        await migrateCarts({ postgres: config.cartDatabase, logger });
        return health.working();
      } catch (error) {
        const { name } = health.failed(error);
        const waitMs = Math.round(health.delayMs(Math.random()));
        reporter.retrying(name, error, waitMs);
        await delay(waitMs, undefined, { signal: closing.signal });
      }
    }
  };
  const awaitTables = async (): Promise<void> => {
    while ((await probeDatabase()) !== 'reachable') {
      await delay(CHECK_TABLES_EVERY_MS, undefined, { signal: closing.signal });
    }
  };
  const consume = async (): Promise<void> => {
    await (config.migrate ? migrate() : awaitTables());
    if (closing.signal.aborted) return;
    migrated = true;
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
    close: async () => {
      closing.abort();
      await Promise.all([server.close(), sink?.close()]);
      await Promise.all([databases.carts.close(), databases.sink.close()]);
    },
  };
}

async function check(): Promise<number> {
  const { cartDatabase, kafka, ordersTopic, replayTopic } = readCartSinkConfig(process.env);
  const checks = [
    checkPostgres('carts database', cartDatabase, [
      'cart_lines',
      'consumer_offsets',
      'applied_orders',
      'parked_events',
    ]),
    checkKafka(kafka, [ordersTopic, replayTopic], createLogger(SERVICE, 'silent')),
  ];
  return checkConfig(checks, classifyKafkaFailure, (text) => process.stdout.write(text));
}

await runService({ service: SERVICE, process, start, check });
