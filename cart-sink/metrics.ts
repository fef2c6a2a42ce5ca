/**
 * Where the sink's events become log lines and metrics, so that the code that decides need not know either.
 *
 * Row values (users, SKUs, quantities) never appear: topics, partitions, offsets and counts do.
 */
import type { Logger } from '#service/logger.ts';
import type { Metrics } from '#service/metrics.ts';
import type { AppliedCounts } from './apply/apply-reliably.ts';
import type { Batch } from './apply/batch.ts';
import type { Ownership, TopicPartition } from './apply/ownership.ts';
import type { MembershipEnd } from './consume/group-session.ts';
import type { PartitionLag } from './consume/lag-monitor.ts';
import type { ReplayStamp } from './replay-records.ts';
import { RULE_VERSION } from './rule/reduce-cart.ts';

export const SINK_ASSIGNED = 'sink.assigned';
export const SINK_APPLIED = 'sink.applied';
export const SINK_LOST_PARTITION = 'sink.lost-partition';
export const SINK_RESTARTING = 'sink.restarting';
export const SINK_RETRYING = 'sink.retrying';
export const SINK_WAITING_FOR_TOPICS = 'sink.waiting-for-topics';
export const SINK_PARKED = 'sink.parked';
export const SINK_REPLAY_HELD = 'sink.replay-held';

/** One order to a full chunk, by powers of about three. */
const BATCH_SIZE_BUCKETS = [1, 3, 10, 30, 100, 300, 1_000, 3_000];

export type SinkReporter = ReturnType<typeof createSinkReporter>;

/** Once a process: it registers the sink's metrics. */
export function createSinkReporter(metrics: Metrics, logger: Logger) {
  const { counter, gauge, histogram } = metrics;
  const where = ['topic', 'partition'] as const;
  const orders = counter(
    'tillstream_sink_orders_applied_total',
    'Orders whose effect is committed in the carts database',
    ['topic'],
  );
  const duplicates = counter('tillstream_sink_duplicates_total', 'Orders skipped because the ledger had them', [
    'topic',
  ]);
  const parked = counter('tillstream_sink_parked_total', 'Records parked because they can never be applied', ['topic']);
  const replayed = counter('tillstream_sink_replay_orders_total', 'Orders of replays, by what became of them', [
    'outcome',
  ]);
  const replayHeld = gauge(
    'tillstream_sink_replay_held',
    '1 for a partition that waits at a replay under another version of the rule',
    where,
  );
  /** Runs whose waiting was logged. */
  const held = new Set<string>();
  const batchRecords = histogram(
    'tillstream_sink_batch_records',
    'Records in one database transaction',
    [],
    BATCH_SIZE_BUCKETS,
  );
  const applySeconds = histogram('tillstream_sink_apply_seconds', 'Duration of one database transaction');
  const latency = histogram(
    'tillstream_sink_commit_to_commit_seconds',
    "From an order's commit in the orders database, by its clock, to its commit in the carts database",
  );
  const lagRecords = gauge(
    'tillstream_sink_lag_records',
    'Offsets between the next to apply and the last stable one',
    where,
  );
  const lagSeconds = gauge(
    'tillstream_sink_lag_seconds',
    'Age of the last applied order while there is a lag, else 0',
    where,
  );
  const partitions = gauge('tillstream_sink_assigned_partitions', 'Partitions that this sink owns');
  const rebalances = counter('tillstream_sink_rebalances_total', 'Assignments received from the consumer group');
  const restarts = counter('tillstream_sink_restarts_total', 'Memberships of the group that ended, by reason', [
    'reason',
  ]);
  const retries = counter('tillstream_sink_retries_total', 'Tries repeated after a fault that passes', ['reason']);

  return {
    timed: async <T>(work: () => Promise<T>): Promise<T> => {
      const stop = applySeconds.startTimer();
      const result = await work();
      stop();
      return result;
    },
    applied: (batch: Batch, result: AppliedCounts): void => {
      const { topic, partition, entries, nextOffset } = batch;
      orders.inc({ topic }, result.orders);
      duplicates.inc({ topic }, result.duplicates);
      parked.inc({ topic }, result.parked);
      if (batch.replay !== null) {
        replayed.inc({ outcome: 'applied' }, result.orders);
        replayed.inc({ outcome: 'already' }, result.duplicates);
        replayed.inc({ outcome: 'changed' }, result.changed);
        replayed.inc({ outcome: 'parked' }, result.parked);
      }
      replayHeld.remove({ topic, partition });
      batchRecords.observe(entries.length);
      const nowSeconds = Date.now() / 1_000;
      for (const entry of entries) {
        if (entry.kind === 'unreadable') {
          const { offset, reason } = entry;
          logger.warn({ event: SINK_PARKED, topic, partition, offset: String(offset), reason }, 'parked a record');
        } else if (entry.kind === 'order' && batch.replay === null) {
          latency.observe(Math.max(0, nowSeconds - Number(entry.event.committedAt) / 1e6));
        }
      }
      logger.debug(
        { event: SINK_APPLIED, topic, partition, nextOffset: String(nextOffset), ...counts(result) },
        'applied a batch',
      );
    },
    assigned: (owned: readonly Ownership[], lost: readonly TopicPartition[]): void => {
      rebalances.inc();
      partitions.set(owned.length);
      for (const { topic, partition } of lost) {
        forget(topic, partition);
        logger.info({ event: SINK_LOST_PARTITION, topic, partition }, 'the group gave a partition to another sink');
      }
      const positions = owned.map(({ topic, partition, nextOffset, ownerEpoch }) => ({
        topic,
        partition,
        nextOffset: String(nextOffset),
        ownerEpoch: String(ownerEpoch),
      }));
      logger.info({ event: SINK_ASSIGNED, partitions: positions }, `consuming ${owned.length} partitions`);
    },
    held: ({ topic, partition }: TopicPartition, { runId, mode, ruleVersion }: ReplayStamp): void => {
      replayHeld.set({ topic, partition }, 1);
      if (held.has(runId)) return;
      held.add(runId);
      const versions = { ruleVersion, sinkRuleVersion: RULE_VERSION };
      logger.warn(
        { event: SINK_REPLAY_HELD, topic, partition, runId, mode, ...versions },
        `a replay under version ${ruleVersion} of the rule waits: this sink has ${RULE_VERSION}. Deploy the version ` +
          'that it was planned with, or cancel the run; the live topic goes on',
      );
    },
    lag: (lags: readonly PartitionLag[]): void => {
      for (const { topic, partition, records, seconds } of lags) {
        lagRecords.set({ topic, partition }, Number(records));
        if (seconds !== undefined) lagSeconds.set({ topic, partition }, seconds);
      }
    },
    retrying: (reason: string, error: unknown, waitMs: number): void => {
      retries.inc({ reason });
      logger.warn({ event: SINK_RETRYING, reason, waitMs, err: error }, `trying again in ${waitMs} ms`);
    },
    restarting: (end: MembershipEnd, waitMs: number): void => {
      restarts.inc({ reason: end.kind });
      const details = 'topic' in end ? { topic: end.topic, partition: end.partition } : {};
      const err = end.kind === 'failed' ? { err: end.error } : {};
      logger.warn(
        { event: SINK_RESTARTING, reason: end.kind, waitMs, ...details, ...err },
        `joining the group again in ${waitMs} ms`,
      );
    },
    waitingForTopics: (topics: readonly string[]): void => {
      logger.warn({ event: SINK_WAITING_FOR_TOPICS, topics }, 'waiting for the reader to create the topics');
    },
    /** The group was left: nothing is owned any more. */
    left: (): void => {
      partitions.set(0);
      lagRecords.reset();
      lagSeconds.reset();
      replayHeld.reset();
    },
  };

  function forget(topic: string, partition: number): void {
    lagRecords.remove({ topic, partition });
    lagSeconds.remove({ topic, partition });
    replayHeld.remove({ topic, partition });
  }
}

function counts({ orders, duplicates, changed, parked }: AppliedCounts) {
  return { orders, duplicates, changed, parked };
}
