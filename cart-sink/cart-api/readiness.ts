/**
 * What GET /health/ready of the cart sink says.
 *
 * Ready means that carts can be served: the database answers and has its tables. A halted or waiting sink is ready all
 * the same, or a balancer would take the carts away from their users; the body and the metrics tell the rest.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Halt } from '#service/halt.ts';
import type { Readiness } from '#service/http-server.ts';
import type { PartitionLag } from '../consume/lag-monitor.ts';
import type { PipelineState } from '../consume/sink.ts';
import type { ReplayStamp } from '../replay-records.ts';
import { RULE_VERSION } from '../rule/reduce-cart.ts';

/** A probe's answer is of no use later than this; orchestrators give up after a second or two. */
const LOOK_LIMIT_MS = 1_000;

/** The SQLSTATE of a table that is not there. */
const UNDEFINED_TABLE = '42P01';

const REMEDY = 'The tables of this service are missing: run `npm run migrate`, or start it with MIGRATE=on.';

export type DatabaseState = 'reachable' | 'away' | 'without-tables';

/**
 * A look at the database that answers within a second whatever the network does. One that takes longer goes on and
 * stands for the next looks, so that probes never use up the pool. `checkTables` rejects unless the tables are there.
 */
export function createDatabaseLook(checkTables: () => Promise<unknown>): () => Promise<DatabaseState> {
  let looking: Promise<DatabaseState> | undefined;
  return async () => {
    looking ??= checkTables()
      .then(
        () => 'reachable' as const,
        ({ code }) => (code === UNDEFINED_TABLE ? 'without-tables' : 'away'),
      )
      .finally(() => {
        looking = undefined;
      });
    return Promise.race([looking, delay(LOOK_LIMIT_MS, 'away' as const, { ref: false })]);
  };
}

export interface SinkCondition {
  readonly database: DatabaseState;
  /** Whether this process has seen its tables, or made them. */
  readonly migrated: boolean;
  readonly pipeline: PipelineState;
  readonly topics: readonly string[];
  readonly partitions: readonly {
    readonly topic: string;
    readonly partition: number;
    readonly nextOffset: bigint;
    readonly held: ReplayStamp | undefined;
  }[];
  /** Of the last look; partitions taken over since are missing. */
  readonly lag: readonly PartitionLag[];
  readonly halt: Halt | undefined;
}

export function formatReadiness(condition: SinkCondition): Readiness {
  const { database, migrated, pipeline, topics, halt } = condition;
  const partitions = condition.partitions.map(({ topic, partition, nextOffset, held }) => {
    const lag = condition.lag.find((one) => one.topic === topic && one.partition === partition);
    return {
      topic,
      partition,
      nextOffset: String(nextOffset),
      ...(lag === undefined ? {} : { lagRecords: Number(lag.records), lagSeconds: lag.seconds ?? null }),
      ...(held === undefined
        ? {}
        : { held: { runId: held.runId, ruleVersion: held.ruleVersion, ofThisSink: RULE_VERSION } }),
    };
  });
  return {
    ready: database === 'reachable' && migrated,
    body: {
      database: database === 'away' ? 'away' : 'reachable',
      ...(database === 'without-tables'
        ? { migrations: 'missing', remedy: REMEDY }
        : { migrations: migrated ? 'applied' : 'waiting' }),
      pipeline,
      ...(pipeline === 'waiting-for-topics' ? { waitingFor: topics } : {}),
      partitions,
      ...(halt === undefined ? {} : { halted: halt }),
    },
  };
}
