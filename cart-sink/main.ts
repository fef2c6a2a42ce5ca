/**
 * The process of the cart sink: the cart API, and beside it the pipeline that takes ordered goods out of carts.
 *
 * The API listens at once and outlives every trouble of the pipeline. Each has a pool of its own, so that a backlog
 * never makes a shopper wait for a connection.
 */
import process from 'node:process';
import { setTimeout as delay } from 'node:timers/promises';
import { createDatabase } from '#service/database.ts';
import { createHaltState } from '#service/halt.ts';
import { createLogger } from '#service/logger.ts';
import { createMetrics } from '#service/metrics.ts';
import { type RunningService, runService } from '#service/shutdown.ts';
import { applyBatch } from './apply/apply-batch.ts';
import { retryPassing } from './apply/retry-passing.ts';
import { createDatabaseLook, formatReadiness } from './cart-api/readiness.ts';
import { createCartServer } from './cart-api/server.ts';
import { readCartSinkConfig } from './config.ts';
import { createPipeline, type Pipeline } from './consume/sink.ts';
import { createSinkReporter } from './metrics.ts';
import { migrateCarts } from './migrate-carts.ts';
import { checkTables } from './sql/check-tables.ts';

const SERVICE = 'cart-sink';
/** A cart request is a few short statements; whoever waits longer is better told to come back. */
const CART_STATEMENT_TIMEOUT_MS = 5_000;
const CART_LOCK_TIMEOUT_MS = 3_000;
const CART_IDLE_TIMEOUT_MS = 5_000;
const CONNECT_TIMEOUT_MS = 3_000;
const ACQUIRE_TIMEOUT_MS = 3_000;
/** Between two looks whether someone has migrated the database; one costs nothing. */
const TABLES_LOOK_EVERY_MS = 500;

async function start(stopping: AbortSignal): Promise<RunningService> {
  const config = readCartSinkConfig(process.env);
  const logger = createLogger(SERVICE, config.logLevel);
  const metrics = createMetrics(SERVICE);
  const halt = createHaltState(metrics, logger);
  const reporter = createSinkReporter(metrics, logger);
  const connection = {
    url: config.cartDatabaseUrl,
    connectTimeoutMs: CONNECT_TIMEOUT_MS,
    acquireTimeoutMs: ACQUIRE_TIMEOUT_MS,
    logger,
  };
  const cartDatabase = createDatabase({
    ...connection,
    applicationName: 'tillstream-cart-api',
    poolSize: config.cartPoolSize,
    statementTimeoutMs: CART_STATEMENT_TIMEOUT_MS,
    lockTimeoutMs: CART_LOCK_TIMEOUT_MS,
    idleInTransactionTimeoutMs: CART_IDLE_TIMEOUT_MS,
  });
  const sinkDatabase = createDatabase({
    ...connection,
    applicationName: 'tillstream-cart-sink',
    // One more than batches at a time: taking partitions over must not wait for them.
    poolSize: config.sinkConcurrency + 1,
    statementTimeoutMs: config.statementTimeoutMs,
    lockTimeoutMs: config.lockTimeoutMs,
    idleInTransactionTimeoutMs: config.idleInTransactionTimeoutMs,
  });

  const lookAtDatabase = createDatabaseLook(() => cartDatabase.pool.query(checkTables));
  const closing = new AbortController();
  let migrated = false;
  let pipeline: Pipeline | undefined;

  const server = await createCartServer({
    host: config.host,
    port: config.port,
    database: cartDatabase,
    logger,
    metrics,
    isMigrated: () => migrated,
    readiness: async () =>
      formatReadiness({
        database: await lookAtDatabase(),
        migrated,
        pipeline: pipeline?.state() ?? 'starting',
        topics: [config.ordersTopic, config.replayTopic],
        partitions: (pipeline?.partitions() ?? []).map((one) => ({
          ...one.ownership,
          nextOffset: one.position(),
          held: one.held(),
        })),
        lag: pipeline?.lag() ?? [],
        halt: halt.current(),
      }),
  });
  await server.listen();

  const waitForTables = async (): Promise<void> => {
    while ((await lookAtDatabase()) !== 'reachable') {
      await delay(TABLES_LOOK_EVERY_MS, undefined, { signal: closing.signal });
    }
  };
  const consume = async (): Promise<void> => {
    if (config.migrate) {
      await retryPassing(() => migrateCarts({ databaseUrl: config.cartDatabaseUrl, logger }), {
        signal: closing.signal,
        random: Math.random,
        onRetry: reporter.retrying,
      });
    } else await waitForTables();
    if (closing.signal.aborted) return;
    migrated = true;
    pipeline = createPipeline({ config, database: sinkDatabase, applyBatch, halt, reporter, logger });
  };
  // A migration that fails for good ends the process, as an unhandled rejection does: there is nothing to serve. One
  // that is running when the process is told to stop is cut off with it, and its transaction rolled back.
  consume().catch((error) => {
    if (!closing.signal.aborted) throw error;
  });
  stopping.addEventListener('abort', () => closing.abort());

  return {
    logger,
    close: async () => {
      closing.abort();
      await Promise.all([server.close(), pipeline?.close()]);
      await Promise.all([cartDatabase.close(), sinkDatabase.close()]);
    },
  };
}

await runService({ service: SERVICE, process, start });
