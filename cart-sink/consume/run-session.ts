/**
 * Opens what one consumer-group session needs, runs it to its end and closes it again, whatever ended it.
 *
 * This file joins the stages of the sink, which know nothing of each other: group-consumer (fetch) → group-session
 * (which partition) → pipeline (check, parse) → retry → apply-batch (one transaction); beside them the lag monitor.
 */
import type { Database } from '#service/database.ts';
import { createConnections, createKafkaClient } from '#service/kafka-client.ts';
import { TopicMissingError } from '#service/kafka-errors.ts';
import { createKafkaLog, type KafkaLog } from '#service/kafka-log.ts';
import type { Logger } from '#service/logger.ts';
import { applyBatch } from '../apply/apply-batch.ts';
import { readStored, takeOwnership } from '../apply/ownership.ts';
import { applyWithRetry, type RetryOptions, retryTransient } from '../apply/retry.ts';
import type { CartSinkConfig } from '../config.ts';
import { TopicRefusedError } from '../errors.ts';
import { createGroupConsumer } from '../kafka/group-consumer.ts';
import { waitForTopics } from '../kafka/wait-for-topics.ts';
import type { SinkReporter } from '../metrics.ts';
import { readNextOffsets } from '../sql/consumer-offsets.ts';
import { GroupSession, type SessionEnd, type SessionOptions } from './group-session.ts';
import { createLagMonitor, type LagMonitor } from './lag-monitor.ts';
import { OwnedPartition } from './owned-partition.ts';
import type { AdmitReplay } from './replay-admission.ts';

export interface SessionContext {
  readonly config: CartSinkConfig;
  readonly database: Database;
  readonly reporter: SinkReporter;
  readonly logger: Logger;
  readonly retry: RetryOptions;
  readonly admitReplay: AdmitReplay;
  readonly onState: (state: 'waiting-for-topics' | 'joining' | 'consuming') => void;
  readonly onJoining: (session: GroupSession, monitor: LagMonitor) => void;
}

type KafkaClient = ReturnType<typeof createKafkaClient>;

const CLIENT_ID = 'tillstream-cart-sink';
/** A fetch of one megabyte holds some 3,000 orders: enough for full batches, little to hold in memory. */
const FETCH_MAX_BYTES_PER_PARTITION = 256 * 1024;
const FETCH_MAX_BYTES = 2 * 1024 * 1024;

export async function runSession(context: SessionContext, closing: AbortSignal): Promise<SessionEnd> {
  const { config, logger, reporter } = context;
  const { ordersTopic: live, replayTopic: replay } = config;
  const client = { brokers: config.kafkaBrokers, clientId: CLIENT_ID, logger };
  const connections = createConnections(client.brokers);
  // Until there is a group to leave, a stop need not be graceful.
  const cutOff = (): void => connections.close();
  closing.addEventListener('abort', cutOff);
  let log: KafkaLog | undefined;
  let session: GroupSession | undefined;
  let monitor: LagMonitor | undefined;
  try {
    const kafka = createKafkaClient({ ...client, connections });
    const onWaiting = (): void => {
      context.onState('waiting-for-topics');
      reporter.waitingForTopics([live, replay]);
    };
    const { topics, problems } = await waitForTopics(kafka, { live, replay }, { signal: closing, onWaiting });
    if (problems.length > 0) return { kind: 'halted', error: new TopicRefusedError(topics.join(', '), problems) };
    log = await openUnlessAborted(createKafkaLog(client), closing);
    closing.removeEventListener('abort', cutOff);
    if (closing.aborted) return { kind: 'closed' };
    context.onState('joining');
    session = joinGroup(context, kafka, log, topics);
    monitor = watchLag(context, session, log, topics);
    context.onJoining(session, monitor);
    return await session.ended;
  } catch (error) {
    return closing.aborted ? { kind: 'closed' } : { kind: 'failed', error };
  } finally {
    closing.removeEventListener('abort', cutOff);
    monitor?.close();
    await session?.close();
    // Requests that still wait for an answer of Kafka get none from here on.
    connections.close();
    await log?.close();
    reporter.left();
  }
}

function joinGroup(
  context: SessionContext,
  kafka: KafkaClient,
  log: KafkaLog,
  topics: readonly string[],
): GroupSession {
  const { config, database, reporter, logger, retry } = context;
  const { consumerGroup } = config;
  const createPartition: SessionOptions['createPartition'] = (ownership, handlers) => {
    const io = {
      apply: (batch: Parameters<typeof applyBatch>[1]) => reporter.timed(() => applyBatch(database, batch)),
      readStored: () => readStored(database.pool, consumerGroup, ownership),
    };
    return new OwnedPartition({
      ownership,
      consumerGroup,
      admitReplay: ownership.topic === config.replayTopic ? context.admitReplay : undefined,
      limits: { maxRecords: config.batchMaxRecords, maxBytes: config.batchMaxBytes },
      apply: (batch, signal) => applyWithRetry(batch, io, retry, signal),
      readStored: io.readStored,
      readEarliest: async () => (await log.readOffsets(ownership.topic)).get(ownership.partition)!.earliest,
      onApplied: reporter.applied,
      ...handlers,
    });
  };
  return new GroupSession({
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
      retryTransient(() => takeOwnership(database.pool, consumerGroup, partitions), retry, signal),
    readRanges: (topic) => log.readOffsets(topic),
    createPartition,
    onPaused: reporter.paused,
    onAssigned: (owned, lost) => {
      context.onState('consuming');
      reporter.assigned(owned, lost);
    },
  });
}

function watchLag(
  context: SessionContext,
  session: GroupSession,
  log: KafkaLog,
  topics: readonly string[],
): LagMonitor {
  const { config, database, reporter, logger } = context;
  const { consumerGroup, replayTopic } = config;
  return createLagMonitor({
    everyMs: config.lagIntervalMs,
    partitions: session.partitions,
    readRanges: (topic) => log.readOffsets(topic),
    readNextOffsets: (wanted) => database.pool.query(readNextOffsets(consumerGroup, wanted)),
    onMeasured: async (lags) => {
      reporter.lag(lags);
      await session.report();
      if (!topics.includes(replayTopic) && (await exists(log, replayTopic))) session.end({ kind: 'topics-changed' });
    },
    onDiverged: ({ topic, partition }) => session.end({ kind: 'out-of-step', topic, partition }),
    now: Date.now,
    logger,
  });
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

/** Rejects at once when `signal` is aborted; a log that opens after that is closed. */
async function openUnlessAborted(opening: Promise<KafkaLog>, signal: AbortSignal): Promise<KafkaLog> {
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const abort = (): void => reject(signal.reason);
  signal.addEventListener('abort', abort);
  if (signal.aborted) abort();
  try {
    return await Promise.race([opening, aborted]);
  } catch (error) {
    opening.then((log) => log.close()).catch(() => undefined);
    throw error;
  } finally {
    signal.removeEventListener('abort', abort);
  }
}
