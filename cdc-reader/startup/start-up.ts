// One start, in the order that is safe: preflight → take the slot (the lock of this server: a standby waits here and has
// fenced nobody) → read the checkpoint and check continuity (a restored clone stops here and has fenced nobody) → fence →
// read the checkpoint to its end and check again → stream. Guarantees: what it returns may publish; until then the stream
// is paused, and standby status updates go out. While Kafka is away it holds the slot and retries, so an outage costs no
// takeover. Without a slot, or with an unfinished initial snapshot, initial-snapshot.ts comes before.
import { setTimeout as delay } from 'node:timers/promises';
import { failpoint } from '#service/failpoint.ts';
import { HaltError } from '#service/halt.ts';
import { isUnfitSession } from '#service/postgres/session.ts';
import type { CdcReaderConfig } from '../config.ts';
import { SlotForeignError } from '../errors.ts';
import {
  READER_CAPTURE_CHANGED,
  READER_PARTITIONS_ADDED,
  READER_PRIVILEGE_MISSING,
  READER_TOPIC_ID_LEARNT,
  READER_WAITING,
} from '../metrics.ts';
import { createReplicationStream, type ReplicationStream } from '../postgres/replication-stream.ts';
import { createSourceSession, type SlotState, type SourceSession } from '../postgres/source-session.ts';
import { SlotBusyError } from '../postgres/stream-errors.ts';
import type { SourceIdentity } from '../postgres/walsender.ts';
import { classifyReaderFailure } from '../supervise/classify-failure.ts';
import { startLagSampler } from '../supervise/lag-sampler.ts';
import {
  FirstStartUnfinishedError,
  PreflightError,
  SlotNotStreamingError,
  SourceMovedError,
  SourceSessionEndedError,
  StandbyError,
} from '../supervise/restart-errors.ts';
import { restartDelayMs } from '../supervise/restart-policy.ts';
import { runInitialSnapshot } from './initial-snapshot.ts';
import { fence, openKafka, READ_DEADLINE_MS } from './kafka-connection.ts';
import { findMissingPrivileges } from './optional-privileges.ts';
import { findPreflightProblems, findPreflightWarnings } from './preflight.ts';
import type { ReaderSession, StartContext } from './session.ts';
import { findSpillProblems } from './spill-directory.ts';
import { haltIfTablesChanged, readVerifiedCheckpoint } from './verified-checkpoint.ts';

/** @throws HaltError (halt), StandbyError and PreflightError (wait), anything else (restart) */
export async function startReader(context: StartContext): Promise<ReaderSession> {
  const { config, scope, logger, metrics, resources } = context;
  const inlet: ReaderSession['inlet'] = { receiver: undefined };
  const source = await scope.open(
    resources,
    () =>
      waitIfUnfit(
        createSourceSession({
          postgres: config.orderDatabase,
          applicationName: config.applicationName,
          onEnd: (cause) => scope.fail(new SourceSessionEndedError({ cause })),
        }),
      ),
    (session) => session.close(),
  );
  const facts = await scope.race(source.preflightFacts(config));
  const problems = [...findPreflightProblems(facts, config), ...findSpillProblems(config.spillDirectory)];
  if (problems.length > 0) {
    await scope.race(haltIfTablesChanged(context, source, facts.capture.fingerprint));
    throw new PreflightError(problems);
  }
  for (const warning of findPreflightWarnings(facts, config)) logger.warn({ event: READER_CAPTURE_CHANGED }, warning);
  for (const warning of findMissingPrivileges(facts, { keepsWindow: config.replayWindow.bytes > 0 }))
    logger.warn({ event: READER_PRIVILEGE_MISSING }, warning);
  resources.adopt(startLagSampler({ source, slotName: config.slotName, metrics, scope }), (sampler) => sampler.close());

  // A slot without a position is being made, or a reader that is gone has left its making at the server.
  const slot = await scope.race(source.readSlot(config.slotName));
  requireOwnSlot(slot, config);
  let isFirstStart = slot === null || (slot.active && slot.confirmedFlushLsn === null);
  for (;;) {
    if (isFirstStart)
      await scope.race(
        waitIfUnfit(runInitialSnapshot(context, source).catch((error) => requireLock(error, source, config))),
      );
    const stream = await scope.race(waitIfUnfit(takeSlot(context, source, inlet)));
    await scope.race(requireSameServer(source, stream.identity, config.slotName));
    await failpoint('reader.slot-taken');
    try {
      const kafka = await retryHoldingSlot(context, (attempt) => connectKafka(context, source, stream, attempt));
      return { source, stream, inlet, ...kafka };
    } catch (error) {
      if (!(error instanceof FirstStartUnfinishedError)) throw error;
      await stream.close();
      isFirstStart = true;
    }
  }
}

/** Settings that do not hold, and a pooler in transaction mode, are for an operator to change. @throws PreflightError */
function waitIfUnfit<T>(opening: Promise<T>): Promise<T> {
  return opening.catch((error) => {
    if (!isUnfitSession(error)) throw error;
    const { code, problem, remedy } = error;
    throw new PreflightError([{ code, problem, remedy }]);
  });
}

/** A halt of the initial snapshot counts while its lock is ours: without it another reader may have finished meanwhile. */
async function requireLock(error: unknown, source: SourceSession, { slotName }: CdcReaderConfig): Promise<never> {
  if (error instanceof HaltError) await source.readSlot(slotName); // rejects when the session, and the lock with it, is gone
  throw error;
}

function takeSlot(
  context: StartContext,
  source: SourceSession,
  inlet: ReaderSession['inlet'],
): Promise<ReplicationStream> {
  const { config, scope, resources } = context;
  const create = async () => {
    try {
      return await createReplicationStream({
        postgres: config.orderDatabase,
        slotName: config.slotName,
        publicationName: config.publicationName,
        applicationName: config.applicationName,
        walSenderTimeoutMs: config.walSenderTimeoutMs,
        handlers: {
          onMessage: (message) => inlet.receiver?.onMessage(message),
          onKeepalive: (keepalive) => inlet.receiver?.onKeepalive(keepalive),
          onFailure: scope.fail,
        },
      });
    } catch (error) {
      if (!(error instanceof SlotBusyError)) throw error;
      const holder = await source.readSlot(config.slotName);
      throw explainBusySlot(error, holder);
    }
  };
  return scope.open(resources, create, (stream) => stream.close());
}

/** Postgres refuses to stream from another's slot, in words that name no remedy. @throws SlotForeignError */
export function requireOwnSlot(
  slot: Pick<SlotState, 'plugin' | 'database'> | null,
  { slotName, orderDatabase }: Pick<CdcReaderConfig, 'slotName' | 'orderDatabase'>,
): void {
  if (slot === null || (slot.plugin === 'pgoutput' && slot.database === orderDatabase.database)) {
    return;
  }
  throw new SlotForeignError(slotName, slot.plugin, slot.database);
}

/**
 * A hot standby stands behind a reader that streams: its slot is active and has a position. One that is still being made is
 * active and confirms nothing, and one that is free by now is to be taken at once: then nobody publishes.
 */
export function explainBusySlot(
  error: Error,
  holder: Pick<SlotState, 'active' | 'confirmedFlushLsn'> | null,
): StandbyError | SlotNotStreamingError {
  if (holder?.active !== true || holder.confirmedFlushLsn === null) {
    return new SlotNotStreamingError(error.message, { cause: error });
  }
  return new StandbyError(error.message, holder.confirmedFlushLsn, { cause: error });
}

/**
 * A host name can resolve to another server between two connections (failover). Then the session sees another timeline,
 * or a slot that is not active. @throws SourceMovedError
 */
export async function requireSameServer(
  source: Pick<SourceSession, 'readCurrentWal' | 'readSlot'>,
  stream: Pick<SourceIdentity, 'timeline'>,
  slotName: string,
): Promise<void> {
  const { timeline } = await source.readCurrentWal();
  const slot = await source.readSlot(slotName);
  const isSameTimeline = timeline === null || timeline === stream.timeline;
  if (!isSameTimeline || slot?.active !== true) throw new SourceMovedError(slotName);
}

/**
 * Retries while Kafka is away; a halt, and what needs a person, ends it: then the slot is released, so that a reader
 * without that problem takes over.
 */
async function retryHoldingSlot<T>(
  { scope, logger, resources, onWaiting }: StartContext,
  attemptOnce: (attempt: AsyncDisposableStack) => Promise<T>,
): Promise<T> {
  for (let failures = 0; ; failures++) {
    const attempt = new AsyncDisposableStack();
    try {
      const result = await scope.race(attemptOnce(attempt));
      resources.use(attempt);
      return result;
    } catch (error) {
      await attempt.disposeAsync();
      if (error instanceof HaltError || error instanceof FirstStartUnfinishedError || scope.signal.aborted) throw error;
      if (classifyReaderFailure(error).kind !== 'transient') throw error;
      onWaiting(error as Error);
      logger.warn(
        { event: READER_WAITING, err: error, failures },
        `Start failed with ${(error as { code?: string }).code ?? (error as Error).name}; holding the slot and retrying.`,
      );
      await delay(restartDelayMs('failure', failures, Math.random()), undefined, { signal: scope.signal });
    }
  }
}

async function connectKafka(
  { config, scope, logger, metrics }: StartContext,
  source: SourceSession,
  stream: ReplicationStream,
  attempt: AsyncDisposableStack,
): Promise<Pick<ReaderSession, 'producer' | 'checkpointTopic' | 'log' | 'checkpoint' | 'nextOffsets'>> {
  const kafka = await scope.open(
    attempt,
    () => openKafka(config, logger),
    (open) => open.close(),
  );
  await readVerifiedCheckpoint(config, kafka, source, stream, 'last_stable_offset');
  await failpoint('reader.before-fence');

  const producer = await scope.open(
    attempt,
    () => fence(config, logger),
    (open) => open.close(),
  );
  metrics.fenced(producer);
  await failpoint('reader.fenced');

  // Nobody else writes from here on. Read before the check: a topic that is recreated after it begins below these offsets.
  const offsets = await kafka.log.readOffsets(config.ordersTopic, READ_DEADLINE_MS);
  const { checkpoint, warnings, isTopicLearnt } = await readVerifiedCheckpoint(
    config,
    kafka,
    source,
    stream,
    'high_watermark',
  );
  for (const warning of warnings) logger.warn({ event: READER_CAPTURE_CHANGED }, `Accepted: ${warning}.`);
  if (isTopicLearnt) {
    logger.warn(
      { event: READER_TOPIC_ID_LEARNT, topic: config.ordersTopic, topicId: checkpoint.liveTopicId },
      'An earlier version has published to this topic without its id. That it is still the same topic is assumed, this once.',
    );
  }
  if (offsets.size > checkpoint.partitions) {
    logger.warn(
      { event: READER_PARTITIONS_ADDED, partitions: offsets.size, used: checkpoint.partitions },
      'The live topic has more partitions than the checkpoint uses; the new ones stay empty.',
    );
  }
  const nextOffsets = Array.from({ length: checkpoint.partitions }, (_, p) => offsets.get(p)?.highWatermark ?? 0n);
  return { producer, checkpointTopic: kafka.checkpointTopic, log: kafka.log, checkpoint, nextOffsets };
}
