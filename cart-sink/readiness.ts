/**
 * What GET /health/ready of the cart sink says.
 *
 * Ready means that carts can be served: the database answers and has its tables. A halted or waiting sink is ready all
 * the same, or a balancer would take the carts away from their users; the body and the metrics tell the rest.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Halt } from '#service/halt.ts';
import type { Readiness } from '#service/http-server.ts';
import type { PartitionLag } from './lag-monitor.ts';
import type { PipelineState } from './pipeline.ts';

/** A probe's answer is of no use later than this; orchestrators give up after a second or two. */
const PING_LIMIT_MS = 1_000;

/**
 * A look at the database that answers within a second whatever the network does. One that takes longer goes on and
 * stands for the next looks, so that probes never use up the pool.
 */
export function createReachability(ping: () => Promise<void>): () => Promise<boolean> {
  let looking: Promise<boolean> | undefined;
  return async () => {
    looking ??= ping()
      .then(
        () => true,
        () => false,
      )
      .finally(() => {
        looking = undefined;
      });
    return Promise.race([looking, delay(PING_LIMIT_MS, false, { ref: false })]);
  };
}

export interface SinkCondition {
  readonly databaseReachable: boolean;
  readonly migrated: boolean;
  readonly pipeline: PipelineState;
  readonly topics: readonly string[];
  readonly partitions: readonly { readonly topic: string; readonly partition: number; readonly nextOffset: bigint }[];
  /** Of the last look; partitions taken over since are missing. */
  readonly lag: readonly PartitionLag[];
  readonly halt: Halt | undefined;
}

export function formatReadiness(condition: SinkCondition): Readiness {
  const { databaseReachable, migrated, pipeline, topics, halt } = condition;
  const partitions = condition.partitions.map(({ topic, partition, nextOffset }) => {
    const lag = condition.lag.find((one) => one.topic === topic && one.partition === partition);
    return {
      topic,
      partition,
      nextOffset: String(nextOffset),
      ...(lag === undefined ? {} : { lagRecords: Number(lag.records), lagSeconds: lag.seconds ?? null }),
    };
  });
  return {
    ready: databaseReachable && migrated,
    body: {
      database: databaseReachable ? 'reachable' : 'away',
      migrations: migrated ? 'applied' : 'waiting',
      pipeline,
      ...(pipeline === 'waiting-for-topics' ? { waitingFor: topics } : {}),
      partitions,
      ...(halt === undefined ? {} : { halted: halt }),
    },
  };
}
