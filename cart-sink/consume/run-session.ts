/**
 * Opens what one consumer-group session needs, runs it to its end and closes it again, whatever ended it.
 *
 * Guarantees that no connection, timer or group member of a session outlives it. Leaves to join-group.ts: the
 * stages between a fetch and its commit; to sink.ts: what follows an end.
 */
import { createKafkaClient } from '#kafka/client.ts';
import { createConnections } from '#kafka/connections.ts';
import { TopicMissingError } from '#kafka/errors.ts';
import { createKafkaLog, type KafkaLog } from '#kafka/reading/log.ts';
import { waitForTopics } from '#kafka/wait-for-topics.ts';
import { unlessAborted } from '#service/deadline.ts';
import { TopicRefusedError } from '../errors.ts';
import { readNextOffsets } from '../sql/consumer-offsets.ts';
import type { GroupSession, SessionEnd } from './group-session.ts';
import { CLIENT_ID, joinGroup, type SessionContext } from './join-group.ts';
import { createLagMonitor, type LagMonitor } from './lag-monitor.ts';

export interface OpenSession {
  readonly session: GroupSession;
  readonly monitor: LagMonitor;
}

export async function runSession(
  context: SessionContext,
  onOpen: (open: OpenSession) => void,
  closing: AbortSignal,
): Promise<SessionEnd> {
  const { config, logger, reporter } = context;
  const { ordersTopic: live, replayTopic: replay } = config;
  const client = { kafka: config.kafka, clientId: CLIENT_ID, logger };
  const connections = createConnections(client.kafka);
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
    const { topics, problems } = await waitForTopics(
      kafka,
      { required: live, optional: replay },
      { signal: closing, onWaiting },
    );
    if (problems.length > 0) return { kind: 'halted', error: new TopicRefusedError(topics.join(', '), problems) };
    log = await openUnlessAborted(createKafkaLog(client), closing);
    closing.removeEventListener('abort', cutOff);
    if (closing.aborted) return { kind: 'closed' };
    context.onState('joining');
    session = joinGroup(context, kafka, log, topics);
    monitor = watchLag(context, session, log, topics);
    onOpen({ session, monitor });
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
    readTopicId: (topic) => log.readTopicId(topic),
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
  try {
    return await unlessAborted(opening, signal);
  } catch (error) {
    opening.then((log) => log.close()).catch(() => undefined);
    throw error;
  }
}
