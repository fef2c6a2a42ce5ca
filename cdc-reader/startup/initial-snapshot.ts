// The first start: no checkpoint, no slot, an empty live topic. Under an advisory lock of the database (there is no slot
// yet to be the lock) it writes an intent, creates the slot with an exported snapshot, publishes the orders that the
// snapshot sees, and writes the first streaming checkpoint. Guarantees: every order is in the snapshot or in the
// stream, none in both. A crash in between leaves the intent: the next attempt makes a new slot and publishes what the
// live topic does not hold yet. Any other mix of checkpoint, slot and topic halts (I11).

import type { TransactionalProducer } from '#kafka/producer/transactional-producer.ts';
import {
  type CaptureFingerprint,
  compareCapture,
  describeMoved,
  type RecordedCapture,
  recordedOids,
} from '#schemas/capture-fingerprint.ts';
import { addOrderId, type Checkpoint, formatCheckpoint, hashOrderIds } from '#schemas/checkpoint.ts';
import { formatLsn, LSN_ZERO, type Lsn, toLsn } from '#schemas/lsn.ts';
import { timelineOf } from '#schemas/timeline.ts';
import { failpoint } from '#service/failpoint.ts';
import type { CdcReaderConfig } from '../config.ts';
import { captureChanged, SlotDroppedError, SystemChangedError } from '../errors.ts';
import { READER_FIRST_START } from '../metrics.ts';
import { type CaptureCheck, createCaptureCheck, preferTablesChanged } from '../pipeline/capture-check.ts';
import { type EventRecord, eventRecord } from '../pipeline/order-event.ts';
import { OrderIndex } from '../pipeline/order-index.ts';
import { readCapturedTables } from '../postgres/capture.ts';
import { createSlot, dropSlot, readIdentity } from '../postgres/slot.ts';
import { readSnapshotOrders, type SnapshotOrder } from '../postgres/snapshot.ts';
import type { SourceSession } from '../postgres/source-session.ts';
import { SlotBusyError } from '../postgres/stream-errors.ts';
import type { SourceIdentity } from '../postgres/walsender.ts';
import { StandbyError } from '../supervise/restart-errors.ts';
import { fence, type KafkaConnection, openKafka, READ_DEADLINE_MS } from './kafka-connection.ts';
import { readPublishedOrders } from './live-topic.ts';
import { explainMissingCheckpoint, findCheckpoint } from './read-checkpoint.ts';
import type { StartContext } from './session.ts';
import { buildSnapshotEvent } from './snapshot-event.ts';

/** Orders read from the snapshot, and published in one Kafka transaction, at a time. */
const SNAPSHOT_BATCH = 1_000;

/** @throws StandbyError while another reader does it; HaltErrors as described above */
export async function runFirstStart(context: StartContext, source: SourceSession): Promise<void> {
  const { config, scope, logger, metrics } = context;
  if (!(await source.tryAdvisoryLock(`tillstream first start of ${config.slotName}`))) {
    throw new StandbyError('it is doing the first start');
  }
  await using resources = new AsyncDisposableStack();
  const kafka = await scope.open(
    resources,
    () => openKafka(config, logger),
    (open) => open.close(),
  );
  const identity = await readIdentity({
    databaseUrl: config.orderDatabaseUrl,
    applicationName: config.applicationName,
  });

  const found = await readUnfinished(config, kafka, source, identity, 'last_stable_offset');
  if (found.kind === 'finished') return;
  const readFlushLsn = async () => (await source.readCurrentWal()).flushLsn;
  await kafka.ensureTopics(found.checkpoint && { throughLsn: found.checkpoint.throughLsn, readFlushLsn });
  const producer = await scope.open(
    resources,
    () => fence(config, logger),
    (open) => open.close(),
  );
  const settled = await readUnfinished(config, kafka, source, identity, 'high_watermark');
  if (settled.kind === 'finished') return;

  const partitions = (await kafka.log.readOffsets(config.ordersTopic, READ_DEADLINE_MS)).size;
  const { fingerprint } = await source.readCapture(config.publicationName);
  const requireSameTables = async (recorded: RecordedCapture, found: CaptureFingerprint): Promise<void> => {
    const { differences } = compareCapture(recorded, found);
    if (differences.length === 0) return;
    const names = await source.readTableNames(recordedOids(recorded).map(({ oid }) => oid));
    throw captureChanged(
      config.publicationName,
      differences,
      describeMoved(recorded, names),
      LSN_ZERO,
      await readFlushLsn(),
    );
  };
  // Orders of the tables that an earlier attempt published from are only in those.
  const earlier = settled.checkpoint;
  if (earlier !== null && earlier.lastPublished !== null) await requireSameTables(earlier.capture, fingerprint);
  const intent: Checkpoint = {
    state: 'intent',
    systemIdentifier: identity.systemIdentifier,
    database: identity.database,
    slotName: config.slotName,
    timeline: identity.timeline,
    history: identity.history,
    generation: settled.checkpoint?.generation ?? 1,
    partitions: settled.checkpoint?.partitions ?? partitions,
    lastPublished: settled.checkpoint?.lastPublished ?? null,
    throughLsn: LSN_ZERO,
    partial: null,
    nextOffsets: [],
    capture: fingerprint,
    gaps: settled.checkpoint?.gaps ?? [],
    windowMarks: [],
  };
  const captureCheck = createCaptureCheck({ source, config, expected: fingerprint, logger });
  const publish = (next: Checkpoint, records: readonly EventRecord[]) =>
    publishWith(producer, kafka, captureCheck, next, records);
  await publish(intent, []);
  await failpoint('reader.intent-written');

  if (settled.hasSlot) await dropUnfinishedSlot(config);
  const slot = await scope.open(
    resources,
    () =>
      createSlot({
        databaseUrl: config.orderDatabaseUrl,
        slotName: config.slotName,
        applicationName: config.applicationName,
        serverVersion: identity.serverVersion,
      }),
    (open) => open.close(),
  );
  await failpoint('reader.slot-created');
  logger.info(
    { event: READER_FIRST_START, consistentLsn: formatLsn(slot.consistentPoint) },
    'The slot is created; publishing the orders that existed before it.',
  );

  const published =
    settled.checkpoint === null
      ? new OrderIndex()
      : await readPublishedOrders(kafka.log, config.ordersTopic, READ_DEADLINE_MS);
  const snapshot = readSnapshotOrders({
    databaseUrl: config.orderDatabaseUrl,
    applicationName: config.applicationName,
    snapshotName: slot.snapshotName,
    batchSize: SNAPSHOT_BATCH,
    onSnapshot: async (query) => {
      const seen = await readCapturedTables(query, config.publicationName, identity.serverVersion);
      await requireSameTables(fingerprint, seen.fingerprint);
    },
  });
  let checkpoint: Checkpoint = { ...intent, state: 'snapshot' };
  const events = snapshotEvents(config, identity, slot.consistentPoint, checkpoint.partitions, checkpoint.generation);
  for await (const orders of snapshot) {
    scope.signal.throwIfAborted();
    const missing = orders.filter(({ order }) => published.find(order.order_id!) < 0);
    const { records, lastPublished } = await preferTablesChanged(captureCheck, () => events(missing));
    if (lastPublished === null) continue;
    checkpoint = { ...checkpoint, lastPublished };
    await publish(checkpoint, records);
    metrics.publishedSnapshot(records.length);
    await failpoint('reader.snapshot-published');
  }

  const ends = await kafka.log.readOffsets(config.ordersTopic, READ_DEADLINE_MS);
  const nextOffsets = Array.from({ length: checkpoint.partitions }, (_, p) => ends.get(p)?.highWatermark ?? 0n);
  await publish({ ...checkpoint, state: 'streaming', throughLsn: slot.consistentPoint, nextOffsets }, []);
  await failpoint('reader.first-start-done');
}

async function dropUnfinishedSlot({ orderDatabaseUrl, slotName, applicationName }: CdcReaderConfig): Promise<void> {
  try {
    await dropSlot({ databaseUrl: orderDatabaseUrl, slotName, applicationName });
  } catch (error) {
    if (error instanceof SlotBusyError) throw new StandbyError(error.message, { cause: error });
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
  // Not on the very first start, which would only wait for them: the second look comes after they were made.
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

async function publishWith(
  producer: TransactionalProducer,
  kafka: KafkaConnection,
  captureCheck: CaptureCheck,
  checkpoint: Checkpoint,
  records: readonly EventRecord[],
): Promise<void> {
  const check = captureCheck.run(checkpoint.throughLsn);
  check.catch(() => undefined); // thrown where it is awaited
  const next = { ...checkpoint, capture: captureCheck.accepted };
  const transaction = await producer.begin();
  await transaction.send([...records, kafka.checkpointTopic.record(formatCheckpoint(next))]);
  await check;
  await transaction.commit();
}

/**
 * Events of the snapshot lie just before the consistent point: a transaction that commits right at it is streamed, and
 * must have a greater position (I4).
 */
function snapshotEvents(
  config: CdcReaderConfig,
  identity: SourceIdentity,
  consistentPoint: Lsn,
  partitions: number,
  generation: number,
): (orders: readonly SnapshotOrder[]) => { records: EventRecord[]; lastPublished: Checkpoint['lastPublished'] } {
  const commitLsn = toLsn(consistentPoint - 1n);
  const timeline = timelineOf(commitLsn, identity.timeline, identity.history);
  const hash = hashOrderIds();
  let ordinal = 0;
  return (orders) => {
    const records = orders.map((order) => {
      const event = buildSnapshotEvent({ generation, timeline, commitLsn }, ordinal, order);
      ordinal += 1;
      addOrderId(hash, event.orderId);
      return eventRecord(config.ordersTopic, partitions, event);
    });
    const last = records.at(-1);
    if (last === undefined) return { records, lastPublished: null };
    const ordersHash = hash.copy().digest('hex');
    return { records, lastPublished: { commitLsn, ordinal: last.ordinal, orderId: last.orderId, ordersHash } };
  };
}
