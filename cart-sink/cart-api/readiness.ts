/**
 * The answer to GET /health/ready of the cart sink.
 *
 * Ready means that carts can be served: the database answers and has its tables. A sink that halted or waits is ready
 * too, or a load balancer would take the carts away from their users; the body and the metrics show the rest.
 */
import { resolvesWithin } from '#service/deadline.ts';
import type { Halt } from '#service/halt.ts';
import type { Readiness } from '#service/http-server.ts';
import type { OwnedPartition } from '../consume/owned-partition.ts';
import type { Sink } from '../consume/sink.ts';
import { RULE_VERSION } from '../rule/reduce-cart.ts';

/** Orchestrators give up on a probe after a second or two. */
const PROBE_LIMIT_MS = 1_000;

/** The SQLSTATE of a missing table. */
const UNDEFINED_TABLE = '42P01';

const REMEDY =
  'The carts database lacks the tables of this version: run `npm run migrate`, or start this service with MIGRATE=on.';

export type DatabaseState = 'reachable' | 'away' | 'without-tables';

/**
 * Probes the database and answers within a second, whatever the network does. A check that takes longer continues and
 * serves the next probes too, so that probes never exhaust the pool. `checkTables` rejects unless the tables are there.
 */
export function createDatabaseProbe(checkTables: () => Promise<unknown>): () => Promise<DatabaseState> {
  let checking: Promise<DatabaseState> | undefined;
  return async () => {
    checking ??= checkTables()
      .then(
        () => 'reachable' as const,
        ({ code }) => (code === UNDEFINED_TABLE ? 'without-tables' : 'away'),
      )
      .finally(() => {
        checking = undefined;
      });
    const current = checking;
    return (await resolvesWithin(current, PROBE_LIMIT_MS)) ? current : 'away';
  };
}

export interface SinkCondition {
  readonly database: DatabaseState;
  /** Whether this process has found its tables, or created them. */
  readonly migrated: boolean;
  /** Undefined until the database has its tables. */
  readonly sink: (Pick<Sink, 'state' | 'lag'> & { partitions(): readonly ReportedPartition[] }) | undefined;
  readonly topics: readonly string[];
  readonly halt: Halt | undefined;
}

type ReportedPartition = Pick<OwnedPartition, 'ownership' | 'position' | 'pausedAt'>;

export function formatReadiness(condition: SinkCondition): Readiness {
  const { database, migrated, sink, topics, halt } = condition;
  const pipeline = sink?.state() ?? 'starting';
  const lags = sink?.lag() ?? [];
  const partitions = (sink?.partitions() ?? []).map((one) => {
    const { topic, partition } = one.ownership;
    const pausedAt = one.pausedAt();
    // A partition that was taken over since the last measurement has no lag yet.
    const lag = lags.find((found) => found.topic === topic && found.partition === partition);
    return {
      topic,
      partition,
      nextOffset: String(one.position()),
      ...(lag === undefined ? {} : { lagRecords: Number(lag.records), lagSeconds: lag.seconds ?? null }),
      ...(pausedAt === undefined
        ? {}
        : { held: { runId: pausedAt.runId, ruleVersion: pausedAt.ruleVersion, ofThisSink: RULE_VERSION } }),
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
