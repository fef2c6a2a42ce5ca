// The initial snapshot: no checkpoint, no slot, an empty live topic. Under an advisory lock of the database (there is no
// slot yet to be the lock) it writes an intent, creates the slot with an exported snapshot, publishes the orders that the
// snapshot sees, and writes the first streaming checkpoint. Guarantees: every order is in the snapshot or in the stream,
// none in both. A crash in between leaves the intent: the next attempt creates a new slot and publishes what the live
// topic does not hold yet. Any other mix of checkpoint, slot and topic halts (I11).
import type { CaptureFingerprint } from '#schemas/capture-fingerprint.ts';
import type { Checkpoint } from '#schemas/checkpoint.ts';
import { formatLsn, LSN_ZERO } from '#schemas/lsn.ts';
import { failpoint } from '#service/failpoint.ts';
import type { CdcReaderConfig } from '../config.ts';
import { SlotDroppedError, SystemChangedError } from '../errors.ts';
import { READER_FIRST_START } from '../metrics.ts';
import { createCaptureCheck } from '../pipeline/capture-check.ts';
import { createSlot, dropSlot, readIdentity } from '../postgres/slot.ts';
import type { SourceSession } from '../postgres/source-session.ts';
import { SlotBusyError, SlotMissingError } from '../postgres/stream-errors.ts';
import type { SourceIdentity } from '../postgres/walsender.ts';
import { SlotNotStreamingError } from '../supervise/restart-errors.ts';
import { requireSameTopic } from './continuity.ts';
import { type Attempt, publish, publishSnapshot, requireSameTables } from './first-start/publish-snapshot.ts';
import { reportSlotWaits } from './first-start/slot-waits.ts';
import { fence, type KafkaConnection, openKafka, READ_DEADLINE_MS } from './kafka-connection.ts';
import { readSettledTopicId } from './live-topic.ts';
import type { StartContext } from './session.ts';
import { requireUsableCapture } from './usable-capture.ts';
import { explainMissingCheckpoint, findCheckpoint } from './verified-checkpoint.ts';

/** @throws SlotNotStreamingError while another reader does it; HaltErrors as described above */
export async function runInitialSnapshot(context: StartContext, source: SourceSession): Promise<void> {
  const { config, scope, logger } = context;
  const lock = `tillstream first start of ${config.slotName}`;
  if (!(await source.tryAdvisoryLock(lock))) {
    const holder = await source.describeLockHolder(lock);
    throw new SlotNotStreamingError(`it holds the lock of the initial snapshot (${holder || 'and has just ended'})`);
  }
  await using resources = new AsyncDisposableStack();
  const kafka = await scope.open(
    resources,
    () => openKafka(config, logger),
    (open) => open.close(),
  );
  const identity = await readIdentity({
    postgres: config.orderDatabase,
    applicationName: config.applicationName,
  });
  const found = await readUnfinished(config, kafka, source, identity, 'last_stable_offset');
  if (found.kind === 'finished') return;
  await kafka.ensureTopics(found.checkpoint && { throughLsn: found.checkpoint.throughLsn, source });
  const producer = await scope.open(
    resources,
    () => fence(config, logger),
    (open) => open.close(),
  );
  context.metrics.fenced(producer);
  const fenced = await readUnfinished(config, kafka, source, identity, 'high_watermark');
  if (fenced.kind === 'finished') return;

  const earlier = fenced.checkpoint;
  await failpoint('reader.before-intent');
  const { fingerprint } = await source.readCapture(config.publicationName);
  await requireUsableCapture(config, source, fingerprint);
  // Orders of the tables that an earlier attempt published from are only in those.
  if (earlier !== null && earlier.lastPublished !== null) {
    await requireSameTables(config, source, earlier.capture, fingerprint);
  }
  const captureCheck = createCaptureCheck({ source, config, expected: fingerprint, logger });
  const attempt: Attempt = { source, kafka, producer, identity, earlier, captureCheck };
  const intent = await createIntent(config, attempt, fingerprint);
  await publish(attempt, intent, []);
  await failpoint('reader.intent-written');

  // Under the lock, and with every other reader fenced, nobody can be making this slot: a reader that was killed has left it
  // waiting at the server, which would not notice for as long as a transaction stays open.
  await source.endUnfinishedSlot(config.slotName);
  if (fenced.hasSlot) await dropUnfinishedSlot(config);
  const { orderDatabase: postgres, slotName, applicationName } = config;
  const slot = await scope.open(
    resources,
    () =>
      reportSlotWaits(context, source, (onStarted) =>
        createSlot({
          postgres,
          slotName,
          applicationName,
          serverVersion: identity.serverVersion,
          onStarted,
          signal: scope.signal,
        }),
      ),
    (open) => open.close(),
  );
  await failpoint('reader.slot-created');
  logger.info(
    { event: READER_FIRST_START, consistentLsn: formatLsn(slot.consistentPoint) },
    'The slot is created; publishing the orders of the initial snapshot.',
  );
  const published = await publishSnapshot(context, attempt, intent, slot).finally(() =>
    context.metrics.firstStartEnded(),
  );

  const ends = await kafka.log.readOffsets(config.ordersTopic, READ_DEADLINE_MS);
  const nextOffsets = Array.from({ length: published.partitions }, (_, p) => ends.get(p)?.highWatermark ?? 0n);
  await publish(
    attempt,
    { ...published, state: 'streaming', throughLsn: slot.consistentPoint, nextOffsets, endOffsets: nextOffsets },
    [],
  );
  await failpoint('reader.first-start-done');
}

async function createIntent(
  { ordersTopic, slotName }: CdcReaderConfig,
  { kafka, identity, earlier }: Attempt,
  capture: CaptureFingerprint,
): Promise<Checkpoint> {
  const partitions = (await kafka.log.readOffsets(ordersTopic, READ_DEADLINE_MS)).size;
  const liveTopicId = await readSettledTopicId(kafka.log, ordersTopic, earlier?.liveTopicId ?? null);
  if (earlier !== null) requireSameTopic(earlier, liveTopicId);
  return {
    state: 'intent',
    systemIdentifier: identity.systemIdentifier,
    database: identity.database,
    slotName,
    timeline: identity.timeline,
    history: identity.history,
    generation: earlier?.generation ?? 1,
    partitions: earlier?.partitions ?? partitions,
    lastPublished: earlier?.lastPublished ?? null,
    throughLsn: LSN_ZERO,
    partial: null,
    nextOffsets: [],
    endOffsets: [],
    capture,
    gaps: earlier?.gaps ?? [],
    windowMarks: [],
    liveTopicId,
  };
}

async function dropUnfinishedSlot({ orderDatabase, slotName, applicationName }: CdcReaderConfig): Promise<void> {
  try {
    await dropSlot({ postgres: orderDatabase, slotName, applicationName });
  } catch (error) {
    if (error instanceof SlotMissingError) return; // the server has dropped it
    if (error instanceof SlotBusyError) throw new SlotNotStreamingError(error.message, { cause: error });
    throw error;
  }
}

type Unfinished =
  | { readonly kind: 'finished' }
  | { readonly kind: 'unfinished'; readonly checkpoint: Checkpoint | null; readonly hasSlot: boolean };

async function readUnfinished(
  config: CdcReaderConfig,
  kafka: KafkaConnection,
  source: SourceSession,
  identity: SourceIdentity,
  through: 'high_watermark' | 'last_stable_offset',
): Promise<Unfinished> {
  const slot = await source.readSlot(config.slotName); // before the checkpoint: an intent is written before its slot
  // Not on the very first attempt, which would only wait for them: the second read comes after they were created.
  const isExpected = slot !== null || through === 'high_watermark';
  const { checkpoint, isHidden } = await findCheckpoint(config, kafka, through, isExpected);
  if (checkpoint === null) {
    const liveOffsets = await kafka.countLiveOffsets(isExpected);
    if (slot !== null || liveOffsets > 0n) throw explainMissingCheckpoint(config, { isHidden, slot, liveOffsets });
    return { kind: 'unfinished', checkpoint: null, hasSlot: false };
  }
  if (checkpoint.systemIdentifier !== identity.systemIdentifier || checkpoint.database !== identity.database) {
    throw new SystemChangedError(identity, checkpoint);
  }
  if (checkpoint.state !== 'streaming') return { kind: 'unfinished', checkpoint, hasSlot: slot !== null };
  if (slot !== null) return { kind: 'finished' };
  throw new SlotDroppedError(config.slotName, checkpoint.throughLsn, (await source.readCurrentWal()).flushLsn);
}
