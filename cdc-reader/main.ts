// The cdc-reader's process: health and metrics over HTTP, and the reader beside them.
import process from 'node:process';
import { checkKafka } from '#kafka/describe-cluster.ts';
import { classifyKafkaFailure } from '#kafka/failure.ts';
import { limitExpandedBatches } from '#kafka/protocol/record-batch.ts';
import { createAccess } from '#service/auth/access.ts';
import { checkConfig } from '#service/command-line/check-config.ts';
import { createHaltState } from '#service/halt.ts';
import { createRecentEvents } from '#service/http/recent-events.ts';
import { createHttpServer } from '#service/http-server.ts';
import { createLogger } from '#service/logger.ts';
import { createMetrics } from '#service/metrics.ts';
import { createPipelineHealth } from '#service/pipeline-health.ts';
import { certificatesOfServer } from '#service/postgres/database-server.ts';
import { checkPostgres } from '#service/postgres/describe-server.ts';
import { warnOfUndecidedTls } from '#service/postgres/variables.ts';
import { watchCertificates } from '#service/security/certificate-expiry.ts';
import { runService } from '#service/shutdown.ts';
import { readCdcReaderConfig } from './config.ts';
import { createConsole } from './console/console.ts';
import { createOrderFinder } from './find/route.ts';
import { createReaderMetrics } from './metrics.ts';
import { listServices } from './status/read-service.ts';
import { classifyReaderFailure } from './supervise/classify-failure.ts';
import { createReader } from './supervise/reader.ts';
import { startSlotSampler } from './supervise/slot-sampler.ts';
import { startTransactionSampler } from './supervise/transaction-sampler.ts';

const SERVICE = 'cdc-reader';

await runService({
  service: SERVICE,
  process,
  check: async () => {
    const { orderDatabase, kafka, checkpointTopic, ordersTopic, replayTopic } = readCdcReaderConfig(process.env);
    const checks = [
      checkPostgres('orders database', orderDatabase, ['orders', 'order_items']),
      checkKafka(kafka, [checkpointTopic, ordersTopic, replayTopic], createLogger(SERVICE, 'silent')),
    ];
    return checkConfig(checks, classifyKafkaFailure, (text) => process.stdout.write(text));
  },
  start: async () => {
    const config = readCdcReaderConfig(process.env);
    limitExpandedBatches(config.maxExpandedBatchBytes);
    const events = createRecentEvents();
    const logger = createLogger(SERVICE, config.logLevel, events.note);
    warnOfUndecidedTls(config.orderDatabaseUrl, logger);
    const metrics = createMetrics(SERVICE, config.commit);
    const { orderDatabase, kafka, operationsAccess } = config;
    const certificates = [
      ...certificatesOfServer(orderDatabase),
      ...kafka.certificates,
      ...operationsAccess.certificates,
    ];
    watchCertificates(certificates, metrics, logger);
    const halts = createHaltState(metrics, logger);
    const health = createPipelineHealth({ metrics, logger, classify: classifyReaderFailure });
    const readerMetrics = createReaderMetrics(metrics);
    const slotSampler = startSlotSampler({ config, logger, metrics: readerMetrics });
    const { streamingBegan: onStreaming } = slotSampler;
    const reader = createReader({ config, logger, metrics: readerMetrics, halts, health, onStreaming });
    const transactionSampler = startTransactionSampler({ config, logger, metrics: readerMetrics });
    const { tokenRules, authNoneIsFine } = config;
    const access = tokenRules && createAccess(tokenRules, { logger, metrics });
    const finder = createOrderFinder(config, { host: config.host, access, isOpen: authNoneIsFine === 'yes' }, logger);
    const operatorsConsole = createConsole({
      services: listServices(config),
      access: operationsAccess,
      metrics,
      pipeline: reader.pipeline,
      events: events.read,
      logger,
    });
    const server = await createHttpServer({
      service: SERVICE,
      host: config.host,
      allowedHosts: config.allowedHosts,
      port: config.port,
      logger,
      metrics,
      events,
      shutdownDelayMs: config.shutdownDelayMs,
      readiness: reader.readiness,
      pipeline: reader.pipeline,
      addOperations: (app) => {
        finder.addRoute(app);
        operatorsConsole.addRoutes(app);
      },
    });
    await server.listen();
    return {
      logger,
      shutdownDelayMs: config.shutdownDelayMs,
      async close() {
        slotSampler.close();
        operatorsConsole.close();
        // Side by side: a standby gets the slot at once, however long HTTP goes on.
        await Promise.all([reader.close(), transactionSampler.close(), server.close().then(finder.close)]);
      },
    };
  },
});
