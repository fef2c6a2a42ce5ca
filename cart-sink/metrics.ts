/**
 * Turns the events of the sink into log lines and metrics, so that the code that decides knows neither.
 *
 * Row values (users, SKUs, quantities) never appear; topics, partitions, offsets and counts do.
 */

import type { HaltError } from '#service/halt.ts';
import type { Logger } from '#service/logger.ts';
import type { Metrics } from '#service/metrics.ts';
import { parseTraceParent } from '#service/tracing/trace-context.ts';
import { activeTracer } from '#service/tracing/tracing.ts';
import type { AppliedCounts } from './apply/apply-batch.ts';
import { recordApplySpans } from './apply/apply-spans.ts';
import type { Batch, BatchEntry } from './apply/batch.ts';
import { explainEnd, type SessionEnd } from './consume/group-session.ts';
import type { PartitionLag } from './consume/lag-monitor.ts';
import { explainHeld, type HeldRun } from './consume/replay-admission.ts';
import { createLagMetrics } from './lag-metrics.ts';
import { RULE_VERSION } from './rule/reduce-cart.ts';
import type { Ownership, TopicPartition } from './sql/consumer-offsets.ts';

const SINK_ASSIGNED = 'sink.assigned';
const SINK_APPLIED = 'sink.applied';
const SINK_LOST_PARTITION = 'sink.lost-partition';
const SINK_RESTARTING = 'sink.restarting';
const SINK_RETRYING = 'sink.retrying';
const SINK_WAITING_FOR_TOPICS = 'sink.waiting-for-topics';
const SINK_PARKED = 'sink.parked';
const SINK_REPLAY_HELD = 'sink.replay-held';

/** From one order to a full batch, in factors of about three. */
const BATCH_SIZES = [1, 3, 10, 30, 100, 300, 1_000, 3_000];

/** In one line of the log. */
const MOST_TRACE_IDS = 20;

export type SinkReporter = ReturnType<typeof createSinkReporter>;

/** Call once in a process: it registers the metrics of the sink. */
export function createSinkReporter(metrics: Metrics, logger: Logger) {
  const sink = registerMetrics(metrics);
  const lag = createLagMetrics(metrics);
  return { ...createBatchReporter(sink, lag, logger), ...createSessionReporter(sink, lag, logger) };
}

type SinkMetrics = ReturnType<typeof registerMetrics>;

function registerMetrics({ counter, gauge, histogram }: Metrics) {
  const topic = ['topic'] as const;
  const place = ['topic', 'partition'] as const;
  const reason = ['reason'] as const;
  return {
    orders: counter('tillstream_sink_orders_applied_total', 'Orders committed in the carts database', topic),
    duplicates: counter('tillstream_sink_duplicates_total', 'Orders skipped because the ledger had them', topic),
    parked: counter('tillstream_sink_parked_total', 'Records parked because they can never be applied', topic),
    replayed: counter('tillstream_sink_replay_orders_total', 'Orders of replay runs, by outcome', ['outcome']),
    replayPaused: gauge(
      'tillstream_sink_replay_held',
      '1 for a partition that is paused at a replay run, which names another rule or is not known',
      place,
    ),
    batchRecords: histogram('tillstream_sink_batch_records', 'Records in one database transaction', [], BATCH_SIZES),
    applySeconds: histogram('tillstream_sink_apply_seconds', 'Duration of one database transaction'),
    latency: histogram(
      'tillstream_sink_commit_to_commit_seconds',
      'From the COMMIT of an order, by that server’s clock, to the COMMIT of its effect',
    ),
    halted: gauge(
      'tillstream_halted_partitions',
      '1 for a partition that this sink owns and has halted, for the reason named by code',
      ['code', ...place],
    ),
    partitions: gauge('tillstream_sink_assigned_partitions', 'Partitions that this sink owns'),
    rebalances: counter('tillstream_sink_rebalances_total', 'Assignments received from the consumer group'),
    restarts: counter('tillstream_sink_restarts_total', 'Consumer-group sessions that ended, by reason', reason),
    retries: counter('tillstream_sink_retries_total', 'Retries after transient errors, by reason', reason),
  };
}

type LagMetrics = ReturnType<typeof createLagMetrics>;

function createBatchReporter(sink: SinkMetrics, lag: LagMetrics, logger: Logger) {
  return {
    /** Measures one transaction with `batches`. */
    timed: async <T extends { readonly kind: string }>(
      batches: readonly Batch[],
      work: () => Promise<T>,
    ): Promise<T> => {
      const stop = sink.applySeconds.startTimer();
      const tracer = activeTracer();
      const startedAt = tracer && Date.now();
      const result = await work();
      stop();
      if (startedAt !== undefined && result.kind === 'applied') recordApplySpans(tracer!, batches, startedAt);
      return result;
    },
    applied: (batch: Batch, counts: AppliedCounts): void => {
      const { topic, partition, entries, nextOffset } = batch;
      const { orders, duplicates, changed, parked } = counts;
      sink.orders.inc({ topic }, orders);
      sink.duplicates.inc({ topic }, duplicates);
      sink.parked.inc({ topic }, parked);
      if (batch.replay !== null) {
        const outcomes = { applied: orders, already: duplicates, changed, parked };
        for (const [outcome, count] of Object.entries(outcomes)) sink.replayed.inc({ outcome }, count);
      }
      sink.replayPaused.remove({ topic, partition });
      lag.lagApplied(batch, newestCommit(entries));
      sink.batchRecords.observe(entries.length);
      const nowSeconds = Date.now() / 1_000;
      for (const entry of entries) {
        if (entry.kind === 'unreadable') {
          const { offset, reason } = entry;
          const traceId = traceIdOf(entry);
          logger.warn(
            { event: SINK_PARKED, topic, partition, offset: String(offset), reason, ...(traceId && { traceId }) },
            'Parked a record that can never be applied; see parked_events.',
          );
        } else if (entry.kind === 'order' && batch.replay === null) {
          sink.latency.observe(Math.max(0, nowSeconds - Number(entry.event.committedAt) / 1e6));
        }
      }
      const place = { topic, partition, nextOffset: String(nextOffset) };
      if (!logger.isLevelEnabled('debug')) return;
      const traceIds = entries.flatMap((entry) => traceIdOf(entry) ?? []).slice(0, MOST_TRACE_IDS);
      logger.debug(
        { event: SINK_APPLIED, ...place, orders, duplicates, changed, parked, traceIds },
        'Applied a batch.',
      );
    },
    retrying: (reason: string, error: unknown, waitMs: number): void => {
      sink.retries.inc({ reason });
      logger.warn(
        { event: SINK_RETRYING, reason, waitMs, err: error },
        `A transient error (${reason}) occurred; retrying in ${waitMs} ms.`,
      );
    },
  };
}

/** Undefined for a record without a trace context. */
function traceIdOf({ traceparent }: BatchEntry): string | undefined {
  return traceparent === undefined ? undefined : parseTraceParent(traceparent)?.traceId;
}

/** Undefined without an order. */
function newestCommit(entries: readonly BatchEntry[]): bigint | undefined {
  let newest: bigint | undefined;
  for (const entry of entries) {
    if (entry.kind === 'order' && (newest === undefined || entry.event.committedAt > newest)) {
      newest = entry.event.committedAt;
    }
  }
  return newest;
}

function createSessionReporter(sink: SinkMetrics, lag: LagMetrics, logger: Logger) {
  /** Runs that were logged as paused. */
  const pausedRuns = new Set<string>();
  return {
    assigned: (owned: readonly Ownership[], lost: readonly TopicPartition[]): void => {
      sink.rebalances.inc();
      sink.halted.reset();
      sink.partitions.set(owned.length);
      lag.lagAssigned(owned);
      for (const { topic, partition } of lost) {
        sink.replayPaused.remove({ topic, partition });
        logger.info(
          { event: SINK_LOST_PARTITION, topic, partition },
          'The consumer group assigned a partition to another sink.',
        );
      }
      const partitions = owned.map(({ topic, partition, nextOffset, ownerEpoch }) => ({
        topic,
        partition,
        nextOffset: String(nextOffset),
        ownerEpoch: String(ownerEpoch),
      }));
      logger.info({ event: SINK_ASSIGNED, partitions }, `Consuming ${owned.length} assigned partitions.`);
    },
    paused: ({ topic, partition }: TopicPartition, held: HeldRun): void => {
      const { runId, mode, ruleVersion, why } = held;
      sink.replayPaused.set({ topic, partition }, 1);
      if (pausedRuns.has(runId)) return;
      pausedRuns.add(runId);
      logger.warn(
        { event: SINK_REPLAY_HELD, topic, partition, runId, mode, ruleVersion, sinkRuleVersion: RULE_VERSION, why },
        explainHeld(held),
      );
    },
    partitionHalted: ({ topic, partition }: TopicPartition, { code }: HaltError): void => {
      sink.halted.set({ code, topic, partition }, 1);
    },
    lag: (lags: readonly PartitionLag[]): void => lag.lagMeasured(lags),
    /** After {@link left}: nothing is applied any more, until a person has repaired the cause. */
    halted: (): void => lag.lagHalted(),
    restarting: (end: SessionEnd, waitMs: number): void => {
      sink.restarts.inc({ reason: end.kind });
      const details = 'topic' in end ? { topic: end.topic, partition: end.partition } : {};
      const err = end.kind === 'failed' ? { err: end.error } : {};
      logger.warn(
        { event: SINK_RESTARTING, reason: end.kind, waitMs, ...details, ...err },
        `The consumer-group session ended: ${explainEnd(end)}. Joining the group again in ${waitMs} ms.`,
      );
    },
    waitingForTopics: (topics: readonly string[]): void => {
      logger.warn({ event: SINK_WAITING_FOR_TOPICS, topics }, 'Waiting for the topics; cdc-reader creates them.');
    },
    /** The group was left: this sink owns nothing any more. */
    left: (): void => {
      sink.partitions.set(0);
      for (const gauge of [sink.replayPaused, sink.halted]) gauge.reset();
      lag.lagLeft();
    },
  };
}
