import process from 'node:process';
import { checkConfig } from '#service/command-line/check-config.ts';
import { classifyFailure } from '#service/failure.ts';
import { createRecentEvents } from '#service/http/recent-events.ts';
import { createLogger } from '#service/logger.ts';
import { checkPostgres } from '#service/postgres/describe-server.ts';
import { runService } from '#service/shutdown.ts';
import { readOrderApiConfig } from './config.ts';
import { startOrderApi } from './server.ts';

await runService({
  service: 'order-api',
  process,
  check: async () => {
    const { orderDatabase } = readOrderApiConfig(process.env);
    const checks = [checkPostgres('orders database', orderDatabase, ['orders', 'order_items'])];
    return checkConfig(checks, classifyFailure, (text) => process.stdout.write(text));
  },
  start: async (signal) => {
    const config = readOrderApiConfig(process.env);
    const events = createRecentEvents();
    return startOrderApi(config, createLogger('order-api', config.logLevel, events.note), signal, events);
  },
});
