/**
 * The answers to GET /health/ready and GET /health/pipeline of the cart sink.
 *
 * Ready means that carts can be served: the database answers and has its tables. A sink that halted or waits is ready
 * too, or a load balancer would take the carts away from their users; the body, the metrics and /health/pipeline show the rest.
 * A consumer alone serves nobody, and is ready by its pipeline.
 */
import { resolvesWithin } from '#service/deadline.ts';
import type { Halt } from '#service/halt.ts';
import type { Readiness } from '#service/http-server.ts';
import { formatPipelineHealth, type PipelineHealth } from '#service/pipeline-health.ts';
import type { OwnedPartition } from '../consume/owned-partition.ts';
import { explainHeld } from '../consume/replay-admission.ts';
import type { Sink } from '../consume/sink.ts';
import { RULE_VERSION } from '../rule/reduce-cart.ts';

/** Orchestrators give up on a probe after a second or two. */
const PROBE_LIMIT_MS = 1_000;

/** The SQLSTATEs of a missing table and a missing column. */
const UNDEFINED = ['42P01', '42703'];

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
        ({ code }) => (UNDEFINED.includes(code) ? 'without-tables' : 'away'),
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
  /** No with `--only api`: another process consumes. */
  readonly consumes: boolean;
  /** Undefined until the database has its tables. */
  readonly sink:
    | (Pick<Sink, 'state' | 'isConsuming' | 'lag'> & { partitions(): readonly ReportedPartition[] })
    | undefined;
  readonly topics: readonly string[];
  readonly halt: Halt | undefined;
}

type ReportedPartition = Pick<OwnedPartition, 'ownership' | 'position' | 'pausedAt' | 'halted'>;

/**
 * The answer to GET /health/pipeline: 503 unless orders leave the carts. One halted partition is enough for that, since
 * its users' orders stay.
 */
export function formatPipeline(
  condition: Omit<SinkCondition, 'database'>,
  health: Pick<PipelineHealth, 'current'>,
): Readiness {
  const { sink, topics, halt, migrated, consumes } = condition;
  const haltedPartitions = listHalted(sink?.partitions() ?? []);
  const { ready, body } = formatPipelineHealth(health, { current: () => halt }, { state: 'working' });
  if (!ready) return { ready, body: { ...body, ...(haltedPartitions.length > 0 && { haltedPartitions }) } };
  if (haltedPartitions.length > 0) return { ready: false, body: { state: 'halted', haltedPartitions } };
  if (sink?.state() === 'waiting-for-topics') {
    const message = `cdc-reader creates ${topics.join(' and ')}: start it, or create them.`;
    return { ready: false, body: { state: 'waiting', name: 'TOPICS_MISSING', message } };
  }
  return (consumes ? sink?.isConsuming() : migrated) ? { ready, body } : { ready: false, body: { state: 'starting' } };
}

function listHalted(partitions: readonly ReportedPartition[]) {
  return partitions.flatMap((one) => {
    const halted = one.halted();
    if (halted === undefined) return [];
    const { topic, partition } = one.ownership;
    return [{ topic, partition, code: halted.code, message: halted.message, details: halted.details }];
  });
}

export function formatReadiness(condition: SinkCondition): Readiness {
  const { database, migrated, sink, topics, halt } = condition;
  const pipeline = sink?.state() ?? (condition.consumes ? 'starting' : 'elsewhere');
  const lags = sink?.lag() ?? [];
  const owned = sink?.partitions() ?? [];
  const haltedPartitions = listHalted(owned);
  const partitions = owned.map((one) => {
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
        : {
            held: {
              runId: pausedAt.runId,
              ruleVersion: pausedAt.ruleVersion,
              ofThisSink: RULE_VERSION,
              why: pausedAt.why,
              remedy: explainHeld(pausedAt),
            },
          }),
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
      ...(haltedPartitions.length === 0 ? {} : { haltedPartitions }),
      ...(halt === undefined ? {} : { halted: halt }),
    },
  };
}

/** Of a consumer alone: the reason of its pipeline, beside all that is known. */
export function readyByPipeline({ body }: Readiness, pipeline: Readiness): Readiness {
  return { ready: pipeline.ready, body: { ...body, ...pipeline.body } };
}
