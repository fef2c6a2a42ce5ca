import process from 'node:process';
import { createLogger } from '#service/logger.ts';
import { runService } from '#service/shutdown.ts';
import { readOrderApiConfig } from './config.ts';
import { startOrderApi } from './server.ts';

await runService({
  service: 'order-api',
  process,
  start: async (signal) => {
    const config = readOrderApiConfig(process.env);
    return startOrderApi(config, createLogger('order-api', config.logLevel), signal);
  },
});
