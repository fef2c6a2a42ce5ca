// The cdc-reader's process: health and metrics over HTTP, and the reader beside them.
import process from 'node:process';
import { limitExpandedBatches } from '#kafka/protocol/record-batch.ts';
import { createHaltState } from '#service/halt.ts';
import { createHttpServer } from '#service/http-server.ts';
import { createLogger } from '#service/logger.ts';
import { createMetrics } from '#service/metrics.ts';
import { createPipelineHealth } from '#service/pipeline-health.ts';
import { certificatesOfServer } from '#service/postgres/database-server.ts';
import { warnOfUndecidedTls } from '#service/postgres/variables.ts';
import { watchCertificates } from '#service/security/certificate-expiry.ts';
import { runService } from '#service/shutdown.ts';
import { readCdcReaderConfig } from './config.ts';
import { createReaderMetrics } from './metrics.ts';
import { classifyReaderFailure } from './supervise/classify-failure.ts';
import { createReader } from './supervise/reader.ts';
import { startSlotSampler } from './supervise/slot-sampler.ts';

const SERVICE = 'cdc-reader';

await runService({
  service: SERVICE,
  process,
  start: async () => {
    const config = readCdcReaderConfig(process.env);
    limitExpandedBatches(config.maxExpandedBatchBytes);
    const logger = createLogger(SERVICE, config.logLevel);
    warnOfUndecidedTls(config.orderDatabaseUrl, logger);
    const metrics = createMetrics(SERVICE);
    watchCertificates([...certificatesOfServer(config.orderDatabase), ...config.kafka.certificates], metrics, logger);
    const halts = createHaltState(metrics, logger);
    const health = createPipelineHealth({ metrics, logger, classify: classifyReaderFailure });
    const readerMetrics = createReaderMetrics(metrics);
    const reader = createReader({ config, logger, metrics: readerMetrics, halts, health });
    const slotSampler = startSlotSampler({ config, logger, metrics: readerMetrics });
    const server = await createHttpServer({
      service: SERVICE,
      host: config.host,
      port: config.port,
      logger,
      metrics,
      readiness: reader.readiness,
      pipeline: reader.pipeline,
    });
    await server.listen();
    return {
      logger,
      async close() {
        slotSampler.close();
        await reader.close();
        await server.close();
      },
    };
  },
});
