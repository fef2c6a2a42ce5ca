/**
 * The sink's loop: wait for the topics, join the group, take over what it assigns, apply it, and begin again whenever
 * that ends, for ever (I8) or until a halt (I11), which only a person ends.
 *
 * The stages, in the order a record meets them: group-consumer (fetch) → membership (whose partition) →
 * consume-partition (continues? decode, cut) → apply-reliably (retry, unknown outcomes) → apply-batch (one transaction).
 * They know nothing of each other; this file joins them.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Database } from '#service/database.ts';
import type { HaltState } from '#service/halt.ts';
import { createConnections, createKafkaClient } from '#service/kafka-client.ts';
import { TopicMissingError } from '#service/kafka-errors.ts';
import { createKafkaLog, type KafkaLog } from '#service/kafka-log.ts';
import type { Logger } from '#service/logger.ts';
import { type ApplyResult, applyReliably } from '../apply/apply-reliably.ts';
import type { Batch } from '../apply/batch.ts';
import { readSettled, takeOwnership } from '../apply/ownership.ts';
import { backOffMs } from '../apply/retry.ts';
import { retryPassing } from '../apply/retry-passing.ts';
import type { CartSinkConfig } from '../config.ts';
import { TopicRefusedError } from '../errors.ts';
import { createGroupConsumer } from '../kafka/group-consumer.ts';
import { type TopicsFound, waitForTopics } from '../kafka/wait-for-topics.ts';
import type { SinkReporter } from '../metrics.ts';
import { RULE_VERSION } from '../rule/reduce-cart.ts';
import { readNextOffsets } from '../sql/read-next-offsets.ts';
import { createMembership, type Membership, type MembershipEnd } from './group-session.ts';
import { createLagMonitor, type LagMonitor } from './lag-monitor.ts';
import { openUnlessAborted } from './open-unless-aborted.ts';
import { createPartitionConsumer } from './owned-partition.ts';
import { createReplayJudge, readCancelled } from './replay-admission.ts';

export type PipelineState =
  | 'starting'
  | 'waiting-for-topics'
  | 'joining'
  | 'consuming'
  | 'restarting'
  | 'halted'
  | 'stopped';

export interface Pipeline {
  state(): PipelineState;
  lag(): ReturnType<LagMonitor['current']>;
  partitions(): ReturnType<Membership['partitions']>;
  /** Finishes the batches in progress and leaves the group. */
  close(): Promise<void>;
}

export interface PipelineOptions {
  readonly config: CartSinkConfig;
  /** The sink's own connections: one for each partition applied at a time, and one to take partitions over. */
  readonly database: Database;
  readonly applyBatch: (database: Database, batch: Batch) => Promise<ApplyResult>;
  readonly halt: HaltState;
  readonly reporter: SinkReporter;
  readonly logger: Logger;
}

/** Fetches of one megabyte a partition hold some 3,000 orders: enough for full batches, little to hold in memory. */
const FETCH_MAX_BYTES_PER_PARTITION = 256 * 1024;
const FETCH_MAX_BYTES = 2 * 1024 * 1024;
/** A membership that lasted this long was no failure to start: the next back-off begins anew. */
const SETTLED_AFTER_MS = 10_000;

export function createPipeline(options: PipelineOptions): Pipeline {
  const { config, database, halt, reporter, logger } = options;
  const { consumerGroup, ordersTopic, replayTopic } = config;
  const brokers = config.kafkaBrokers;
  const clientId = 'tillstream-cart-sink';
  const closing = new AbortController();
  const patiently = <T>(work: () => Promise<T>, signal: AbortSignal): Promise<T> =>
    retryPassing(work, { signal, random: Math.random, onRetry: reporter.retrying });
  const judgeReplay = createReplayJudge(RULE_VERSION, (runId, signal) =>
    patiently(() => readCancelled(database.pool, runId), signal),
  );
  let state: PipelineState = 'starting';
  let membership: Membership | undefined;
  let monitor: LagMonitor | undefined;

  const join = (kafka: ReturnType<typeof createKafkaClient>, log: KafkaLog, { topics }: TopicsFound): Membership =>
    createMembership({
      createConsumer: (handlers) =>
        createGroupConsumer({
          kafka,
          groupId: consumerGroup,
          topics,
          sessionTimeoutMs: config.sessionTimeoutMs,
          heartbeatIntervalMs: config.heartbeatIntervalMs,
          fetchMaxWaitMs: config.fetchMaxWaitMs,
          fetchMaxBytes: FETCH_MAX_BYTES,
          fetchMaxBytesPerPartition: FETCH_MAX_BYTES_PER_PARTITION,
          concurrency: config.sinkConcurrency,
          logger,
          handlers,
        }),
      takeOwnership: (partitions, signal) =>
        patiently(() => takeOwnership(database.pool, consumerGroup, partitions), signal),
      readRanges: (topic) => log.readOffsets(topic),
      createPartition: (ownership, handlers) =>
        createPartitionConsumer({
          ownership,
          consumerGroup,
          judgeReplay: ownership.topic === replayTopic ? judgeReplay : undefined,
          limits: { maxRecords: config.batchMaxRecords, maxBytes: config.batchMaxBytes },
          apply: (batch, signal) =>
            applyReliably(
              {
                apply: (one) => reporter.timed(() => options.applyBatch(database, one)),
                readSettled: (one) => readSettled(database.pool, consumerGroup, one),
                onRetry: reporter.retrying,
                random: Math.random,
              },
              batch,
              signal,
            ),
          readSettled: () => readSettled(database.pool, consumerGroup, ownership),
          readEarliest: async () => (await log.readOffsets(ownership.topic)).get(ownership.partition)!.earliest,
          onApplied: reporter.applied,
          ...handlers,
        }),
      onHeld: reporter.held,
      onAssigned: (owned, lost) => {
        state = 'consuming';
        reporter.assigned(owned, lost);
      },
    });

  const watchLag = (log: KafkaLog, current: Membership, topics: readonly string[]): LagMonitor =>
    createLagMonitor({
      everyMs: config.lagIntervalMs,
      partitions: current.partitions,
      readRanges: (topic) => log.readOffsets(topic),
      readNextOffsets: (wanted) => database.pool.query(readNextOffsets(consumerGroup, wanted)),
      onLook: async (lags) => {
        reporter.lag(lags);
        await current.report();
        if (!topics.includes(replayTopic) && (await exists(log, replayTopic))) current.end({ kind: 'topics-changed' });
      },
      onOutOfStep: ({ topic, partition }) => current.end({ kind: 'out-of-step', topic, partition }),
      now: Date.now,
      logger,
    });

  /** From the first connection to the last: whatever ends it, nothing of it is left. */
  const runMembership = async (): Promise<MembershipEnd> => {
    const connections = createConnections(brokers);
    const kafka = createKafkaClient({ brokers, clientId, logger, connections });
    // Until there is a group to leave, a stop need not be gentle.
    const cutOff = (): void => connections.close();
    closing.signal.addEventListener('abort', cutOff);
    let log: KafkaLog | undefined;
    try {
      const onWaiting = (): void => {
        state = 'waiting-for-topics';
        reporter.waitingForTopics([ordersTopic, replayTopic]);
      };
      const found = await waitForTopics(
        kafka,
        { live: ordersTopic, replay: replayTopic },
        { signal: closing.signal, onWaiting },
      );
      if (found.problems.length > 0) {
        return { kind: 'halted', error: new TopicRefusedError(found.topics.join(', '), found.problems) };
      }
      log = await openUnlessAborted(createKafkaLog({ brokers, clientId, logger }), closing.signal);
      closing.signal.removeEventListener('abort', cutOff);
      if (closing.signal.aborted) return { kind: 'closed' };
      state = 'joining';
      membership = join(kafka, log, found);
      monitor = watchLag(log, membership, found.topics);
      return await membership.ended;
    } catch (error) {
      return closing.signal.aborted ? { kind: 'closed' } : { kind: 'failed', error };
    } finally {
      closing.signal.removeEventListener('abort', cutOff);
      monitor?.close();
      await membership?.close();
      // What still waits for an answer of Kafka gets none from here on.
      connections.close();
      await log?.close();
      membership = undefined;
      monitor = undefined;
      reporter.left();
    }
  };

  const run = async (): Promise<void> => {
    for (let failures = 0; !closing.signal.aborted; ) {
      const beganMs = performance.now();
      const end = await runMembership();
      if (end.kind === 'closed') break;
      if (end.kind === 'halted') {
        state = 'halted';
        halt.halt(end.error);
        return;
      }
      state = 'restarting';
      failures = performance.now() - beganMs > SETTLED_AFTER_MS ? 1 : failures + 1;
      const waitMs = end.kind === 'topics-changed' ? 0 : backOffMs(failures, Math.random);
      reporter.restarting(end, waitMs);
      await delay(waitMs, undefined, { signal: closing.signal }).catch(() => undefined);
    }
    state = 'stopped';
  };
  const running = run();

  return {
    state: () => state,
    lag: () => monitor?.current() ?? [],
    partitions: () => membership?.partitions() ?? [],
    close: async () => {
      closing.abort();
      membership?.end({ kind: 'closed' });
      await running;
    },
  };
}

async function exists(log: KafkaLog, topic: string): Promise<boolean> {
  try {
    await log.readOffsets(topic);
    return true;
  } catch (error) {
    if (error instanceof TopicMissingError) return false;
    throw error;
  }
}
