/**
 * What GET /health/ready of the cart sink says.
 *
 * Ready means that carts can be served: the database answers and has its tables. A halted or waiting sink is ready all
 * the same, or a balancer would take the carts away from their users; the body and the metrics tell the rest.
 */
import type { Halt } from '#service/halt.ts';
import type { Readiness } from '#service/http-server.ts';
import type { PartitionLag } from './lag-monitor.ts';
import type { PipelineState } from './pipeline.ts';

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
