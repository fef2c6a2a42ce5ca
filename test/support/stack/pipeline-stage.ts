// Reader and sinks on one stage, with full carts and an oracle that judges the whole way from COMMIT to COMMIT. What the
// two single stages do is theirs (reader-stage.ts, sink-stage.ts).

import { fillCarts } from '../load/order-load.ts';
import { assertClean, createOracle, type Oracle, type Verdict } from '../oracle/oracle.ts';
import type { Service } from '../process/service-process.ts';
import type { TestServers } from './environment.ts';
import { createReaderStage, type ReaderStage } from './reader-stage.ts';

export type PipelineStage = Pick<ReaderStage, 'environment' | 'load' | 'startReader' | 'startStreaming'> & {
  readonly oracle: Oracle;
  /** Starts a sink with a session of six seconds and waits until it serves carts. */
  startSink(options?: { failpoints?: string; more?: Record<string, string> }): Promise<Service>;
  /** Fills the carts for the orders 0 … `count` - 1; a sink must have migrated them. */
  openCarts(count: number): Promise<void>;
  /** Waits until everything is published and applied, then lets the oracle judge it. */
  requireClean(deadlineMs?: number): Promise<Verdict>;
  cleanUp(): Promise<void>;
};

export async function createPipelineStage(label: string, servers?: TestServers): Promise<PipelineStage> {
  const reader = await createReaderStage(label, servers);
  const { environment, load, startReader, startStreaming } = reader;
  const { env } = environment;
  const oracle = createOracle({
    ordersUrl: env.ORDER_DATABASE_URL,
    cartsUrl: env.CART_DATABASE_URL,
    brokers: environment.servers.directBrokers.split(','),
    ordersTopic: env.ORDERS_TOPIC,
    slotName: env.SLOT_NAME,
    checkpointTopic: env.CHECKPOINT_TOPIC,
    consumerGroup: env.CONSUMER_GROUP,
  });
  return {
    environment,
    load,
    startReader,
    startStreaming,
    oracle,
    async startSink({ failpoints, more = {} } = {}) {
      const settings = {
        SESSION_TIMEOUT_MS: '6000',
        LAG_INTERVAL_MS: '500',
        ...(failpoints === undefined ? {} : { TILLSTREAM_FAILPOINTS: failpoints }),
        ...more,
      };
      const nodeArgs = failpoints === undefined ? [] : ['--import', './test/support/process/failpoints.ts'];
      const sink = await environment.startService('cart-sink', settings, { nodeArgs });
      await sink.waitReady();
      return sink;
    },
    async openCarts(count) {
      await fillCarts({ first: 0, count, cartsUrl: env.CART_DATABASE_URL });
      await oracle.openCarts();
    },
    async requireClean(deadlineMs = 60_000) {
      await environment.explain(oracle.waitUntilDrained(deadlineMs));
      const verdict = await oracle.check();
      assertClean(verdict);
      return verdict;
    },
    cleanUp: reader.cleanUp,
  };
}
