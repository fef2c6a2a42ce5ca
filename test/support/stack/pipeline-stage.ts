// The stage for readers, and for readers with sinks: a migrated orders database, loads that write it, services as
// processes that can be stopped at named moments, and an oracle that checks the way from COMMIT to Kafka, or with `carts`
// from COMMIT to COMMIT. A sink without a reader is sink-stage.ts's; what operators do is disaster-stage.ts's.

import { createOrderLoad, fillCarts, type OrderLoad } from '../load/order-load.ts';
import { assertClean, createOracle, type Oracle, type Verdict } from '../oracle/oracle.ts';
import { migrateTestOrders } from '../postgres/order-database.ts';
import type { Service } from '../process/service-process.ts';
import { createTestEnvironment, type TestEnvironment, type TestServers } from './environment.ts';
import { type StartOptions, startReader, startSink } from './start-services.ts';

export type PipelineStage = {
  readonly environment: TestEnvironment;
  readonly oracle: Oracle;
  readonly load: OrderLoad;
  startReader(options?: StartOptions): Promise<Service>;
  /** Starts a reader and waits until it publishes. */
  startStreaming(options?: StartOptions): Promise<Service>;
  /** Starts a sink and waits until it serves carts. */
  startSink(options?: Parameters<typeof startSink>[1]): Promise<Service>;
  /** Fills the carts for the orders 0 … `count` - 1; a sink must have migrated them. */
  openCarts(count: number): Promise<void>;
  /** Waits until everything is published, and with `carts` applied, then has the oracle check it. */
  requireClean(deadlineMs?: number): Promise<Verdict>;
  cleanUp(): Promise<void>;
};

/** `servers`: instead of the run's shared ones. */
export async function createPipelineStage(
  label: string,
  { servers, carts = false }: { servers?: TestServers; carts?: boolean } = {},
): Promise<PipelineStage> {
  const environment = await createTestEnvironment(label, servers);
  const { env } = environment;
  await migrateTestOrders(env.ORDER_DATABASE_URL, env.PUBLICATION_NAME);
  const load = await createOrderLoad({ ordersUrl: env.ORDER_DATABASE_URL });
  const oracle = createEnvironmentOracle(environment, { carts });
  return {
    environment,
    oracle,
    load,
    startReader: (options) => startReader(environment, options),
    async startStreaming(options) {
      const reader = await startReader(environment, options);
      await reader.waitForLog('reader.streaming', { deadlineMs: 60_000 });
      return reader;
    },
    async startSink(options) {
      const sink = await startSink(environment, options);
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
    async cleanUp() {
      await load.close();
      await environment.cleanUp();
    },
  };
}

/** The oracle over what the environment's names mean; without `carts` it checks the log alone. */
export function createEnvironmentOracle({ env, servers }: TestEnvironment, { carts }: { carts: boolean }): Oracle {
  return createOracle({
    ordersUrl: env.ORDER_DATABASE_URL,
    brokers: servers.directBrokers.split(','),
    ordersTopic: env.ORDERS_TOPIC,
    slotName: env.SLOT_NAME,
    checkpointTopic: env.CHECKPOINT_TOPIC,
    ...(carts ? { cartsUrl: env.CART_DATABASE_URL, consumerGroup: env.CONSUMER_GROUP } : {}),
  });
}
