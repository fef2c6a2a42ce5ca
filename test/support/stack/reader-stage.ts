// A stage for the reader without services beside it: a migrated orders database, loads that write it, the oracle that
// judges what reaches Kafka, and readers as processes that can be stopped at named moments. Times are short on purpose:
// what takes minutes in production shows in seconds.

import { createOrderLoad, type OrderLoad } from '../load/order-load.ts';
import { assertClean, createOracle, type Oracle } from '../oracle/oracle.ts';
import { migrateTestOrders } from '../postgres/order-database.ts';
import type { Service } from '../process/service-process.ts';
import { waitFor } from '../wait.ts';
import { createTestEnvironment, type TestEnvironment, type TestServers } from './environment.ts';

/** Two seconds of silence free the slot, a transaction lives five. */
const shortTimes = { WAL_SENDER_TIMEOUT_MS: '2000', TRANSACTION_TIMEOUT_MS: '5000', IDLE_CHECKPOINT_MS: '500' };

export type ReaderStage = {
  readonly environment: TestEnvironment;
  readonly oracle: Oracle;
  readonly load: OrderLoad;
  /** Starts a reader; `failpoints` as test/support/process/failpoints.ts reads them. */
  startReader(options?: { failpoints?: string; more?: Record<string, string> }): Promise<Service>;
  /** Starts a reader and waits until it publishes. */
  startStreaming(options?: { failpoints?: string; more?: Record<string, string> }): Promise<Service>;
  /** Waits until everything is published, then lets the oracle judge it. */
  requireClean(deadlineMs?: number): Promise<void>;
  cleanUp(): Promise<void>;
};

export async function createReaderStage(label: string, servers?: TestServers): Promise<ReaderStage> {
  const environment = await createTestEnvironment(label, servers);
  const { env } = environment;
  await migrateTestOrders(env.ORDER_DATABASE_URL, env.PUBLICATION_NAME);
  const load = await createOrderLoad({ ordersUrl: env.ORDER_DATABASE_URL });
  const oracle = createOracle({
    ordersUrl: env.ORDER_DATABASE_URL,
    brokers: environment.servers.directBrokers.split(','),
    ordersTopic: env.ORDERS_TOPIC,
    slotName: env.SLOT_NAME,
    checkpointTopic: env.CHECKPOINT_TOPIC,
  });
  const startReader: ReaderStage['startReader'] = ({ failpoints, more = {} } = {}) =>
    environment.startService(
      'cdc-reader',
      { ...shortTimes, ...more, ...(failpoints === undefined ? {} : { TILLSTREAM_FAILPOINTS: failpoints }) },
      failpoints === undefined ? {} : { nodeArgs: ['--import', './test/support/process/failpoints.ts'] },
    );
  return {
    environment,
    oracle,
    load,
    startReader,
    async startStreaming(options) {
      const reader = await startReader(options);
      await reader.waitForLog('reader.streaming', { deadlineMs: 30_000 });
      return reader;
    },
    async requireClean(deadlineMs = 30_000) {
      await environment.explain(oracle.waitUntilDrained(deadlineMs));
      assertClean(await oracle.check());
    },
    async cleanUp() {
      await load.close();
      await environment.cleanUp();
    },
  };
}

/** Waits until the reader has paused at a failpoint. */
export async function waitPaused(reader: Service, name: string): Promise<void> {
  await waitFor(
    `the reader to pause at ${name}`,
    () => [...reader.logs].some((entry) => entry.event === 'failpoint.paused' && entry.name === name),
    { deadlineMs: 30_000 },
  );
}
